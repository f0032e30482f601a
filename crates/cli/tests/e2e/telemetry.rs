//! Traces as an OpenTelemetry collector receives them, and what the process shows of itself.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use http_body_util::Full;
use hyper::Request;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Held},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;
use serde_json::json;

use crate::harness::{Boot, Server, eventually, init};

const CANARY: &str = "canary-51c0-value-nobody-else-uses";

/// A collector: what it was sent, with the head of each request.
struct Collector {
    url: String,
    sent: Receiver<(String, Vec<u8>)>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, sent) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, tell) = (stream.unwrap(), tell.clone());
                std::thread::spawn(move || {
                    let mut bytes = Vec::new();
                    let mut chunk = [0; 4096];
                    while let Ok(n @ 1..) = stream.read(&mut chunk) {
                        bytes.extend_from_slice(&chunk[..n]);
                        while let Some((head, body, rest)) = request(&bytes) {
                            let told = tell.send((head, body));
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                            bytes = rest;
                            if told.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { url, sent }
    }

    /// Waits until spans of all these names are there, and gives all there are.
    fn spans(&self, names: &[&str]) -> (Vec<Span>, Vec<KeyValue>, Vec<u8>) {
        let (mut spans, mut resource, mut raw): (Vec<Span>, _, _) = (Vec::new(), Vec::new(), Vec::new());
        while !names.iter().all(|name| spans.iter().any(|span| span.name == *name)) {
            let (head, body) = self.sent.recv_timeout(Duration::from_secs(60)).unwrap();
            let head = head.to_lowercase();
            assert!(head.starts_with("post /v1/traces "), "{head}");
            assert!(
                head.contains("content-type: application/x-protobuf") && head.contains("x-team: core"),
                "{head}"
            );
            let told = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            raw.extend_from_slice(head.as_bytes());
            raw.extend(body);
            for of in told.resource_spans {
                resource = of.resource.unwrap().attributes;
                spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        (spans, resource, raw)
    }
}

/// Head, body and what is behind, once all of it is there.
fn request(bytes: &[u8]) -> Option<(String, Vec<u8>, Vec<u8>)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let whole = end + length.unwrap_or(0);
    (bytes.len() >= whole).then(|| (head, bytes[end..whole].to_vec(), bytes[whole..].to_vec()))
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|pair| pair.key == key)?.value.as_ref()?.value.as_ref()? {
        Held::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Writes a secret with this `traceparent`.
async fn write(server: &Server, path: &str, value: &str, traceparent: &str) {
    let request = Request::post(format!("/v1/secret/data/{path}"))
        .header("X-Vault-Token", &server.token)
        .header("traceparent", traceparent)
        .body(Full::new(json!({ "data": { "password": value } }).to_string().into()));
    server.client().try_send(request.unwrap()).await.unwrap().data();
}

fn traced(collector: &Collector) -> Server {
    Boot::dev()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=core")
        .env("OTEL_SERVICE_NAME", "keyferry-under-test")
        .env("KEYFERRY_LOG_FORMAT", "json")
        .start()
}

#[tokio::test]
async fn a_write_and_what_it_sets_in_motion_are_one_trace() {
    let collector = Collector::start();
    let server = traced(&collector);
    let client = server.client();
    let destination = "sys/sync/destinations/in-mem/traced";
    client.post("secret/data/app/db", json!({ "data": { "password": CANARY } })).await.data();
    client.post(destination, json!({})).await.data();
    let set = json!({ "mount": "secret", "secret_name": "app/db" });
    client.post(&format!("{destination}/associations/set"), set).await.data();
    collector.spans(&["destination create"]);
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    write(&server, "app/db", &format!("{CANARY}-2"), header).await;
    let (spans, resource, raw) = collector.spans(&["secrets", "destination update"]);
    assert_eq!(text(&resource, "service.name"), Some("keyferry-under-test"));
    let trace = hex::decode("4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
    let of = |name: &str| {
        let mut of = spans.iter().filter(|span| span.name == name && span.trace_id == trace);
        let one = of.next().unwrap_or_else(|| panic!("no {name} in {spans:?}"));
        assert!(of.next().is_none(), "{spans:?}");
        one
    };
    let (write, delivery) = (of("secrets"), of("destination update"));
    assert_eq!(write.parent_span_id, hex::decode("00f067aa0ba902b7").unwrap());
    assert_eq!(delivery.parent_span_id, write.span_id);
    assert_eq!((write.kind, delivery.kind), (SpanKind::Server as i32, SpanKind::Client as i32));
    assert_eq!(text(&delivery.attributes, "keyferry.destination"), Some("in-mem/traced"));
    assert_eq!(text(&write.attributes, "http.request.method"), Some("POST"));
    assert!(text(&write.attributes, "keyferry.request_id").is_some_and(|id| id.len() == 36));
    assert!(write.start_time_unix_nano > 0 && write.start_time_unix_nano <= delivery.end_time_unix_nano);
    for hidden in [CANARY, "app/db", "root"] {
        assert!(!raw.windows(hidden.len()).any(|window| window == hidden.as_bytes()), "{hidden} was sent");
    }
}

#[tokio::test]
async fn a_client_that_does_not_record_is_not_traced_and_a_silent_collector_harms_nobody() {
    // Nobody listens there: the port was free a moment ago.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Boot::dev().env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{gone}")).start();
    for n in 0..200 {
        server.client().post(&format!("secret/data/{n}"), json!({ "data": { "a": "b" } })).await.data();
    }
    let told = async || server.log().contains("traces could not be sent").then_some(());
    eventually("the log says that traces are lost", told).await;
    server.signal("TERM");
    assert!(server.wait().0.success());
    let collector = Collector::start();
    let server = traced(&collector);
    write(&server, "a", "b", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").await;
    server.client().get("sys/mounts").await.data();
    let (spans, ..) = collector.spans(&["sys"]);
    assert!(spans.iter().all(|span| span.name != "secrets"), "{spans:?}");
}

#[test]
fn wrong_telemetry_settings_stop_the_start_and_name_the_variable() {
    let output = crate::harness::keyferry()
        .args(["server", "-dev", "-dev-listen-address=127.0.0.1:0"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@collector:4318")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && !said.contains("hunter2"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_leaves_no_image_of_its_memory_behind() {
    let data = tempfile::tempdir().unwrap();
    let token = init(&data.path().join("store"));
    let server = Boot::data(&data.path().join("store"), &token).start();
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", server.pid())).unwrap();
    let limits = read("limits");
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{cores}");
    // What is not dumpable belongs to the system's administrator, whoever runs it.
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(format!("/proc/{}/environ", server.pid())).unwrap().uid(), 0);
    let locked: u64 = read("status")
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:")?.trim().trim_end_matches(" kB").parse().ok())
        .unwrap();
    let log = server.log();
    if log.contains("memory is locked") {
        assert!(locked > 1024, "{locked}");
    } else {
        assert!(log.contains("memory is not locked") && log.contains("CAP_IPC_LOCK"), "{log}");
    }
}

#[test]
fn a_server_that_must_lock_its_memory_says_so_when_it_cannot() {
    let data = tempfile::tempdir().unwrap();
    let store = data.path().join("store");
    init(&store);
    let binary = env!("CARGO_BIN_EXE_keyferry");
    // Without the capability, and with the smallest of limits.
    let script = format!(
        "ulimit -l 64; exec setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock {binary} server --data {} --listen 127.0.0.1:0",
        store.display()
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).env("KEYFERRY_SERVER_REQUIRE_MLOCK", "true");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("setpriv") {
        println!("left out: setpriv is not there or not allowed here");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("server.require_mlock") && said.contains("CAP_IPC_LOCK"), "{said}");
}
