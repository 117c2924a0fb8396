use super::*;

/// A directory of the test's own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("palisade-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self, max_bytes: u64, files: usize) -> LogFile {
        LogFile::new(self.0.join("flows"), Rotation { max_bytes, files })
    }

    /// The files by name, with their contents.
    fn contents(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap());
        let mut all: Vec<_> = entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        all.sort();
        all
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn named<'a>(files: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
    files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect()
}

#[test]
fn a_full_file_is_followed_by_another_and_the_oldest_goes() {
    let folder = Folder::new("full");
    let mut log = folder.log(8, 3);
    for line in ["aaa\n", "bbb\n", "ccc\n", "ddd\n", "eee\n", "ffff\n", "ggg\n"] {
        log.write(line.as_bytes()).unwrap();
    }
    let expected = [("flows", "ggg\n"), ("flows.1", "ffff\n"), ("flows.2", "eee\n")];
    assert_eq!(folder.contents(), named(&expected));
    assert_eq!(log.rotations(), 4);
    // One that is longer than a file may be is written nevertheless, and whole.
    log.write(b"a long line\n").unwrap();
    assert_eq!(folder.contents()[0].1, "a long line\n");
    let mode = fs::metadata(folder.0.join("flows")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_there_is_gone_on_with_and_a_torn_line_is_ended() {
    let folder = Folder::new("torn");
    fs::write(folder.0.join("flows"), "whole\ntor").unwrap();
    folder.log(100, 2).write(b"next\n").unwrap();
    assert_eq!(folder.contents(), named(&[("flows", "whole\ntor\nnext\n")]));
    // The bytes from before count.
    folder.log(17, 2).write(b"more\n").unwrap();
    let expected = [("flows", "more\n"), ("flows.1", "whole\ntor\nnext\n")];
    assert_eq!(folder.contents(), named(&expected));
}

#[test]
fn a_gap_that_an_ended_process_left_is_filled_and_nothing_is_lost() {
    let folder = Folder::new("gap");
    // It had renamed the second to the third.
    for (name, text) in
        [("flows", "d\n"), ("flows.1", "c\n"), ("flows.3", "b\n"), ("flows.4", "a\n")]
    {
        fs::write(folder.0.join(name), text).unwrap();
    }
    folder.log(2, 5).write(b"e\n").unwrap();
    let expected = [
        ("flows", "e\n"),
        ("flows.1", "d\n"),
        ("flows.2", "c\n"),
        ("flows.3", "b\n"),
        ("flows.4", "a\n"),
    ];
    assert_eq!(folder.contents(), named(&expected));
    // A run that keeps fewer removes the others.
    folder.log(2, 2).write(b"f\n").unwrap();
    assert_eq!(folder.contents(), named(&[("flows", "f\n"), ("flows.1", "e\n")]));
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let folder = Folder::new("moved");
    let mut log = folder.log(100, 2);
    log.write(b"a\n").unwrap();
    fs::rename(folder.0.join("flows"), folder.0.join("taken")).unwrap();
    log.write(b"b\n").unwrap();
    assert_eq!(folder.contents(), named(&[("flows", "b\n"), ("taken", "a\n")]));
}

#[test]
fn a_missing_directory_is_an_error_until_it_is_there() {
    let folder = Folder::new("missing");
    let inner = folder.0.join("inner");
    let mut log = LogFile::new(inner.join("flows"), Rotation { max_bytes: 100, files: 2 });
    assert_eq!(log.write(b"a\n").unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::create_dir(&inner).unwrap();
    log.write(b"a\n").unwrap();
    assert_eq!(fs::read_to_string(inner.join("flows")).unwrap(), "a\n");
    // It is no place for lines that are not files.
    let mut device = LogFile::new("/dev/null".into(), Rotation { max_bytes: 100, files: 2 });
    assert_eq!(device.write(b"a\n").unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
