//! OpenBao with integrated (raft) or PostgreSQL storage, initialised, unsealed, with a KV v2 mount at `secret/`.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;

use crate::harness::Client;

pub(crate) struct OpenBao {
    child: Child,
    pub(crate) address: String,
    pub(crate) token: String,
}

impl OpenBao {
    /// Starts it on a directory of the same disk.
    pub(crate) async fn start(binary: &Path, directory: &Path) -> Self {
        fs::create_dir_all(directory.join("raft")).unwrap();
        let storage =
            format!("storage \"raft\" {{\n path = \"{}/raft\"\n node_id = \"n1\"\n}}\n", directory.display());
        Self::with(binary, directory, &storage).await
    }

    /// Starts it on a database of its own, where it makes its table as its documentation says.
    pub(crate) async fn on_postgres(binary: &Path, directory: &Path, url: &str) -> Self {
        fs::create_dir_all(directory).unwrap();
        let storage = format!("storage \"postgresql\" {{\n connection_url = \"{url}\"\n}}\n");
        Self::with(binary, directory, &storage).await
    }

    async fn with(binary: &Path, directory: &Path, storage: &str) -> Self {
        let [port, cluster] =
            [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let config = format!(
            "{storage}\
             listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n\
             api_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"http://127.0.0.1:{cluster}\"\n"
        );
        fs::write(directory.join("bao.hcl"), config).unwrap();
        let log = File::create(directory.join("bao.log")).unwrap();
        let child = Command::new(binary)
            .args(["server", "-log-level=warn", "-config"])
            .arg(directory.join("bao.hcl"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        let client = Client::new(&format!("http://{address}"), None);
        let mut started = Self { child, address, token: String::new() };
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made = wait(async || client.try_call("PUT", "sys/init", Some(shares.clone())).await.ok()).await;
        let made = made.expect(200).json();
        client.call("PUT", "sys/unseal", Some(json!({ "key": made["keys"][0] }))).await.expect(200);
        made["root_token"].as_str().unwrap().clone_into(&mut started.token);
        let client = client.with_token(Some(&started.token));
        // A raft node needs a moment to become its own leader.
        let kv = json!({ "type": "kv-v2" });
        wait(async || {
            let answer = client.try_call("POST", "sys/mounts/secret", Some(kv.clone())).await.ok()?;
            (answer.status == 204).then_some(())
        })
        .await;
        wait(async || client.get("secret/config").await.status.is_success().then_some(())).await;
        started
    }
}

async fn wait<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..300 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("OpenBao did not get ready within 30 s");
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
