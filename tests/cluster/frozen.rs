//! A disk that stops answering without an error: the node with it stops, says so, and another one leads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hessra_tests::{Cluster, Layout, until};

/// An ext4 of its own in a file, which can be frozen: a writer then waits.
struct Ext4 {
    mounted: PathBuf,
}

impl Ext4 {
    /// Mounts the file system; `None` where it needs rights or programs that are not here.
    fn mount(mounted: PathBuf, image: &Path) -> Option<Self> {
        std::fs::create_dir_all(&mounted).ok()?;
        let file = std::fs::File::create(image).ok()?;
        file.set_len(256 << 20).ok()?;
        let made = runs(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image));
        let mount = || {
            let mut command = Command::new("mount");
            runs(command.args(["-o", "loop"]).arg(image).arg(&mounted))
        };
        (made && mount()).then_some(Self { mounted })
    }

    fn freeze(&self) {
        let frozen = runs(Command::new("fsfreeze").arg("-f").arg(&self.mounted));
        assert!(frozen, "the file system can be frozen");
    }

    fn thaw(&self) -> bool {
        runs(Command::new("fsfreeze").arg("-u").arg(&self.mounted))
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        self.thaw();
        runs(Command::new("umount").arg("--lazy").arg(&self.mounted));
    }
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn revoke(cluster: &Cluster, identity: &str) -> bool {
    let arguments = [
        "revoke",
        identity,
        "--yes",
        "--wait",
        "commit",
        "--timeout",
        "3s",
    ];
    cluster.operator().run(arguments).code() == 0
}

#[test]
fn a_disk_that_does_not_answer_ends_its_node_and_another_leads() {
    let layout = Layout::new("frozen").set("storage", "free_min", "32MiB");
    let mut cluster = layout.set("storage", "flush_max", "1s").prepare();
    let mut disks = Vec::new();
    for node in cluster.nodes() {
        let image = cluster.directory().join(format!("disk-{}", node.id));
        let Some(disk) = Ext4::mount(node.data.clone(), &image) else {
            println!(
                "skipped: a file system that can be frozen needs root, loop devices and fsfreeze"
            );
            return;
        };
        disks.push(disk);
    }
    cluster.start_all();
    assert!(revoke(&cluster, "urn:hessra:test:before"));
    let leader = cluster.leader();
    let disk = &disks[leader as usize - 1];
    disk.freeze();
    until("another node leads", Duration::from_secs(30), || {
        revoke(&cluster, "urn:hessra:test:meanwhile").then_some(())
    });
    assert_ne!(cluster.leader(), leader);
    until("the node says why", Duration::from_secs(30), || {
        let log = cluster.tail(leader);
        log.contains("the disk has not finished a flush")
            .then_some(())
    });
    assert!(disk.thaw());
    let (code, said) = cluster.wait_ended(leader);
    assert_ne!(code, 0, "{said}");
    cluster.start_node(leader);
    let operator = cluster.operator();
    for identity in ["urn:hessra:test:before", "urn:hessra:test:meanwhile"] {
        let list = operator.run(["revocations", "list", "-o", "json"]).done();
        assert!(list.stdout().contains(identity), "{identity} is not lost");
    }
    cluster.stop_all();
}
