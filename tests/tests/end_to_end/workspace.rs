//! The root of a project and a turn's changes, by the real programs through a relay.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use baton_core_client::{Changes, Thread};
use baton_support::process::RunningProgram;

use crate::support::{Home, PATIENCE, Testbed, relay};

#[test]
fn a_root_and_a_turns_changes_are_found_through_a_relay() {
    let testbed = Testbed::new();
    fs::create_dir_all(testbed.home.file("project/src/deep")).unwrap();
    let root = testbed.home.file("project").canonicalize().unwrap();
    let made = Command::new("git")
        .current_dir(&root)
        .args(["init", "-q"])
        .status();
    assert!(made.unwrap().success());
    let start = root.join("src/deep");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = testbed.client();
        let found = client.workspace().project_root(&start, [".git"]).await.unwrap();
        assert_eq!(found.root.unwrap().directory, root);
        // The default directory is where commands run.
        let home = client.workspace().project_root("", ["project"]).await.unwrap();
        assert_eq!(home.root.unwrap().depth, 0);

        let thread = Thread::new(&client, "t", &start);
        let touched = client.run(thread.command("touch").arg("new.rs")).await.unwrap();
        assert!(touched.status.success());
        thread.changed("new.rs");
        let Changes::Changed(changed) = thread.changes().await.unwrap() else {
            panic!()
        };
        assert_eq!(changed.files[0].path.to_str(), Some("src/deep/new.rs"));
        client.close().await;
    });
}

#[test]
fn a_machine_without_git_is_told_from_one_without_changes() {
    for program in [Some("env"), None] {
        let home = Home::new();
        home.allow("continue");
        let (_relay, address) = relay(&home, "127.0.0.1:0", &[]);
        let programs = home.file("programs");
        fs::create_dir_all(&programs).unwrap();
        fs::create_dir_all(home.file("project/.git")).unwrap();
        if let Some(program) = program {
            symlink(format!("/usr/bin/{program}"), programs.join(program)).unwrap();
        }
        let mut command = home.baton_exec_server(&format!("http://{address}"));
        command.env("PATH", &programs);
        let mut exec_server = RunningProgram::start("exec-server", command).unwrap();
        let ticket = exec_server.line_after("ticket: ", PATIENCE).unwrap();
        let client = home.client(&ticket.parse().unwrap());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let thread = Thread::new(&client, "t", home.file("project"));
            thread.changed("file");
            let changes = thread.changes().await.unwrap();
            assert!(matches!(changes, Changes::GitMissing { .. }), "{changes:?}");
            client.close().await;
        });
    }
}
