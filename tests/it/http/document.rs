//! The document of the API and the API are the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::{ask, get, quiet};
use crate::support::{Workplace, project_file};

/// Routes of the web page, which is no part of the API.
const PAGE: [&str; 2] = ["/", "/page/{file}"];

/// Every path that the sources serve.
fn served(folder: &Path, paths: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            served(&path, paths);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for rest in text.split(".route(").skip(1) {
                let rest = rest.trim_start();
                if let Some(rest) = rest.strip_prefix('"') {
                    paths.insert(rest.split('"').next().unwrap().to_owned());
                }
            }
        }
    }
}

#[test]
fn each_route_is_in_the_document_and_the_other_way_round() {
    let place = Workplace::new();
    let daemon = quiet(&place, "");
    let document = get(&daemon, "/api/openapi.json").json();
    let documented: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let mut paths = BTreeSet::new();
    served(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server"), &mut paths);
    for route in PAGE {
        assert!(paths.remove(route), "{route}");
    }
    assert_eq!(documented, paths);
    for (path, methods) in document["paths"].as_object().unwrap() {
        let concrete = path.split('/').map(|part| if part.starts_with('{') { "none" } else { part });
        let refused = ask(&daemon, "PATCH", &concrete.collect::<Vec<_>>().join("/"), &[], b"");
        assert_eq!(refused.status, 405, "{path}: {refused:?}");
        let allowed: BTreeSet<String> =
            refused.header("allow").unwrap().split(',').map(|method| method.trim().to_lowercase()).collect();
        let mut known: BTreeSet<String> = methods.as_object().unwrap().keys().cloned().collect();
        if known.contains("get") {
            known.insert("head".to_owned());
        }
        assert_eq!(allowed, known, "{path}");
    }
    daemon.stop();
}

/// Questions that a generic client makes up out of the document; scripts/test says where it is.
#[test]
fn a_generic_client_finds_nothing_that_the_document_does_not_say() {
    let Some(schemathesis) = std::env::var_os("SCHEMATHESIS") else {
        assert!(project_file("scripts/test").contains("need_schemathesis"), "scripts/test brings it along");
        return;
    };
    let place = Workplace::new();
    let daemon = quiet(&place, "");
    let url = format!("http://{}/api/openapi.json", daemon.address());
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                  response_schema_conformance";
    let mut command = Command::new(schemathesis);
    command.current_dir(place.path(".")).args(["run", &url, "--checks", checks, "--max-examples", "15"]).args([
        "--seed",
        "1",
        "--phases",
        "examples,coverage,fuzzing",
        "--generation-database",
        "none",
        "--request-timeout",
        "10",
        "--exclude-path",
        "/api/v1/emergency-stop",
        // It never ends.
        "--exclude-path",
        "/v1/sse/events",
    ]);
    let outcome = command.output().unwrap();
    let (said, log) = (String::from_utf8_lossy(&outcome.stdout), daemon.log());
    assert!(outcome.status.success(), "{said}\n{}\n{log}", String::from_utf8_lossy(&outcome.stderr));
    assert!(!daemon.stop().contains("panicked"));
}
