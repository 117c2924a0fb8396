//! Events of the file system -> what is looked at.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::files::{NAMESPACE, POD, Scans, Scratch};
use crate::sources::watcher::FileWatcher;

/// Waits until the watch says that there is something, and looks.
fn wait(scans: &mut Scans, watch: &mut FileWatcher, woken: &mpsc::Receiver<()>) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        woken.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("no event");
        let (rescan, _) = watch.take(false);
        scans.now = Instant::now();
        let updates = scans.scan(&rescan);
        if !updates.is_empty() {
            return updates;
        }
    }
}

#[test]
fn saving_in_any_way_is_seen_also_after_the_directory_was_made_anew() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("manifests");
    let mut scans = Scans::of(&directory);
    let (wake, woken) = mpsc::channel();
    let mut watch = FileWatcher::new([directory.clone()], move || _ = wake.send(()));
    watch.take(true);
    scans.look();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), NAMESPACE).unwrap();
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["a.yaml: Namespace x"]);

    fs::write(directory.join("new"), POD).unwrap();
    fs::rename(directory.join("new"), directory.join("a.yaml")).unwrap();
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["a.yaml: Pod x/p"]);

    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("b.yaml"), NAMESPACE).unwrap();
    let updates = wait(&mut scans, &mut watch, &woken);
    assert!(updates.contains(&"b.yaml: Namespace x".to_owned()), "{updates:?}");
}

#[test]
fn a_file_that_is_being_written_is_left_alone_until_it_is_closed() {
    use std::io::Write;
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    let (wake, woken) = mpsc::channel();
    let mut watch = FileWatcher::new([scratch.0.clone()], move || _ = wake.send(()));
    watch.take(true);
    scans.look();
    let mut file = fs::File::create(scratch.0.join("a.yaml")).unwrap();
    // Another file's event makes the agent look; by then the kernel has queued the truncation before it.
    scratch.write("b.yaml", POD);
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["b.yaml: Pod x/p"]);
    file.write_all(NAMESPACE.replace("x", "other").as_bytes()).unwrap();
    drop(file);
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["a.yaml: Namespace other"]);
}

#[test]
fn who_writes_slowly_is_waited_for_also_by_looks_that_trust_no_event() {
    use std::io::Write;
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let (wake, woken) = mpsc::channel();
    let mut watch = FileWatcher::new([scratch.0.clone()], move || _ = wake.send(()));
    watch.take(true);
    let mut file = fs::File::create(scratch.0.join("a.yaml")).unwrap();
    let mut look = |written: bool| {
        if written {
            file.write_all(b"# slowly\n").unwrap();
        }
        // Another file's event, which the kernel queues after those.
        scratch.write("b.yaml", POD);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !watch.take(false).0.paths.contains(&scratch.0.join("b.yaml")) {
            woken
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .expect("no event");
        }
        watch.take(true).0.writing.contains(&scratch.0.join("a.yaml"))
    };
    assert!(look(true) && look(true) && look(true));
    assert!(!look(false), "nobody writes any more, and the event of it may be lost");
}

#[test]
fn what_a_link_in_a_directory_leads_to_is_watched() {
    let (scratch, elsewhere) = (Scratch::new(), Scratch::new());
    let target = elsewhere.write("target.yaml", NAMESPACE);
    for link in ["a.yaml", "b.yaml"] {
        std::os::unix::fs::symlink(&target, scratch.0.join(link)).unwrap();
    }
    let mut scans = Scans::of(&scratch.0);
    let (wake, woken) = mpsc::channel();
    let mut watch = FileWatcher::new([scratch.0.clone()], move || _ = wake.send(()));
    watch.take(true);
    scans.look();
    elsewhere.write("target.yaml", POD);
    let updates = wait(&mut scans, &mut watch, &woken);
    assert_eq!(updates, ["a.yaml: Pod x/p", "b.yaml: Pod x/p"]);
    // Being written, it is left alone by either name.
    let writer = fs::File::create(&target).unwrap();
    elsewhere.write("other.yaml", POD);
    scratch.write("c.yaml", NAMESPACE);
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["c.yaml: Namespace x"]);
    drop(writer);
}

#[test]
fn a_configmap_that_is_mounted_and_a_directory_that_is_replaced_are_seen() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new();
    let directory = scratch.0.join("manifests");
    let version = |name: &str, text: &str| {
        fs::create_dir_all(directory.join(name)).unwrap();
        fs::write(directory.join(name).join("a.yaml"), text).unwrap();
        symlink(name, directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    };
    version("..1", NAMESPACE);
    symlink("..data/a.yaml", directory.join("a.yaml")).unwrap();
    let mut scans = Scans::of(&directory);
    let (wake, woken) = mpsc::channel();
    let mut watch = FileWatcher::new([directory.clone()], move || _ = wake.send(()));
    watch.take(true);
    scans.look();
    version("..2", POD);
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["a.yaml: Pod x/p"]);
    // Without an event, as when something is mounted over it.
    fs::rename(&directory, scratch.0.join("away")).unwrap();
    fs::create_dir(&directory).unwrap();
    while woken.recv_timeout(Duration::from_millis(100)).is_ok() {}
    assert!(watch.take(false).0.all);
    assert!(!watch.take(false).0.all, "it is watched now");
}

#[test]
fn what_is_renamed_into_place_arrives_whole_and_what_is_written_in_place_does_not() {
    let scratch = Scratch::new();
    let [renamed, written, both] =
        ["renamed", "written", "both"].map(|name| scratch.0.join(format!("{name}.yaml")));
    let (wake, woken) = mpsc::channel();
    let mut watch = FileWatcher::new([scratch.0.clone()], move || _ = wake.send(()));
    watch.take(true);
    for file in [&renamed, &both] {
        fs::write(scratch.0.join("new"), POD).unwrap();
        fs::rename(scratch.0.join("new"), file).unwrap();
    }
    fs::write(&written, POD).unwrap();
    fs::write(&both, NAMESPACE).unwrap();
    // What the kernel queues last.
    let last = scratch.write("last.yaml", POD);
    let (mut arrived, mut in_place) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (rescan, _) = watch.take(false);
        in_place.extend(rescan.written);
        arrived.retain(|file| !in_place.contains(file));
        arrived.extend(rescan.arrived);
        if rescan.paths.contains(&last) {
            break;
        }
        woken.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("no event");
    }
    assert_eq!(arrived, [renamed]);
    assert!(in_place.contains(&written) && in_place.contains(&both), "{in_place:?}");
}
