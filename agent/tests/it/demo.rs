//! `palisade demo`: what it shows, and that nothing of it stays.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::Scratch;

/// What a terminal has at least.
const COLUMNS: usize = 80;

/// Starts the demo with a temporary directory of its own.
pub(crate) fn start(arguments: &[&str], scratch: &Scratch) -> Child {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_palisade"));
    demo.arg("demo").args(arguments).env("TMPDIR", &scratch.0);
    demo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    demo.spawn().unwrap()
}

#[track_caller]
fn is_empty(scratch: &Scratch) -> bool {
    std::fs::read_dir(&scratch.0).unwrap().next().is_none()
}

#[test]
fn it_shows_verdicts_a_denied_packet_and_the_agents_answers_in_80_columns() {
    for layout in ["routed", "bridged"] {
        let scratch = Scratch::new();
        let output = start(&["--layout", layout], &scratch).wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{layout}: {text}{:?}", String::from_utf8(output.stderr));
        for shown in [
            "160 answered",
            "monitoring/prometheus  ....      ..c.  ....",
            "# palisade observe --pod shop/frontend --address 10.87.0.30 --port 5432",
            "deny egress",
            "# palisade explain shop/frontend shop/db --port 5432",
            "shop/api 9090/TCP: was answered, now dropped",
            "shop/db 5432/TCP: was dropped, now answered",
            "# palisade verify",
            "# palisade status",
            "Every connection met the verdict that the policies give it.",
        ] {
            assert!(text.contains(shown), "{layout}: no {shown:?} in {text}");
        }
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{layout}: {line}");
        }
        assert!(is_empty(&scratch), "{layout}: files are left");
    }
}

#[test]
fn it_is_kept_open_until_a_signal_and_then_removed() {
    let scratch = Scratch::new();
    let mut demo = start(&["--keep"], &scratch);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("Kept open until Ctrl-C")));
    let page = lines.next().unwrap();
    assert!(page.trim().starts_with("http://127.0.0.1:"), "{page}");
    // The last command asks from a pod whether a port of another is open; prometheus may not reach it, and frontend may.
    let shells: Vec<_> = lines
        .by_ref()
        .take_while(|line| !line.contains("there: is api's port"))
        .filter_map(|line| {
            line.trim().strip_prefix("nsenter --net=")?.strip_suffix(" bash").map(str::to_owned)
        })
        .collect();
    let ask = lines.next().unwrap();
    let asked = |pod: &str| {
        let mut shell = Command::new("nsenter");
        shell.arg(format!("--net={pod}")).args(["sh", "-c", ask.trim()]);
        String::from_utf8(shell.output().unwrap().stdout).unwrap()
    };
    let [frontend, _, _, prometheus] = shells.as_slice() else { panic!("four pods: {shells:?}") };
    assert_eq!((asked(frontend).as_str(), asked(prometheus).as_str()), ("yes\n", ""));
    kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = demo.wait().unwrap();
    let mut errors = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(status.success(), "{status} {errors}");
    assert!(is_empty(&scratch), "files are left");
}
