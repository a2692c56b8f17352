//! The house as the documents draw it: crates depend in one direction, files stay short, and every path that is named exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What each crate may use of ours, beside its tests. Those without an entry are for the tests.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("domain", &[]),
    ("limiter", &[]),
    ("journal", &[]),
    ("http-server", &[]),
    ("telemetry", &[]),
    // Only tests and benchmarks use it.
    ("test-servers", &[]),
    ("repository", &["domain"]),
    ("jobs", &["domain"]),
    ("service", &["domain", "jobs", "journal", "limiter", "repository"]),
    ("worker", &["domain", "http-server", "jobs", "service", "telemetry"]),
    ("api", &["domain", "http-server", "service", "telemetry", "worker"]),
];
/// Documents whose paths are checked.
const DOCUMENTS: [&str; 2] = ["README.md", "docs/architecture.md"];
/// Longer ones hold two things.
const MAX_LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files below a folder of the repository whose names end in `.rs`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(sources(&path));
        } else if path.extension() == Some(OsStr::new("rs")) {
            found.push(path);
        }
    }
    found
}

#[test]
fn crates_depend_in_one_direction() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of_ours = |name: &Value| name.as_str().unwrap().strip_prefix("tollgate-").map(str::to_owned);
    let mut uses = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"] != "dev");
        let used: BTreeSet<String> = dependencies.filter_map(|dependency| of_ours(&dependency["name"])).collect();
        uses.insert(of_ours(&package["name"]).unwrap(), used);
    }
    uses.remove("tests");
    let names: Vec<_> =
        MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(uses.keys().cloned().collect::<Vec<_>>(), names, "a new crate needs its line here");
    for (name, may) in MAY_USE {
        let may: BTreeSet<String> = may.iter().map(|name| (*name).to_owned()).collect();
        let beyond: Vec<_> = uses[name].difference(&may).collect();
        assert!(beyond.is_empty(), "{name} may not use {beyond:?}");
    }
}

#[test]
fn the_api_names_the_worker_where_it_starts_and_nowhere_else() {
    for path in sources(&root().join("crates/api/src")) {
        let names_it = fs::read_to_string(&path).unwrap().contains("tollgate_worker");
        assert!(!names_it || path.ends_with("api/src/main.rs"), "{}", path.display());
    }
}

#[test]
fn no_source_file_is_long() {
    for folder in ["crates", "tests"] {
        for path in sources(&root().join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn every_path_that_the_documents_name_exists() {
    let root = root();
    let files: BTreeSet<_> = sources(&root.join("crates"))
        .iter()
        .chain(&sources(&root.join("tests")))
        .filter_map(|path| path.file_name())
        .map(OsStr::to_owned)
        .collect();
    let mut checked = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        // Outside of blocks of code every second part stands between back-ticks.
        let outside: String = text.split("```").step_by(2).collect();
        for named in outside.split('`').skip(1).step_by(2) {
            let is_path = named.ends_with(".rs")
                || named.ends_with(".sql")
                || named.ends_with(".toml")
                || ["crates/", "tests/", "docs/", "configs/", "migrations/", "deploy/", ".ci/"]
                    .iter()
                    .any(|top| named.starts_with(top));
            // X stands for a name that is to be chosen; two names stand for one of each.
            if !is_path || named.contains(['X', ' ', '<', '{', '*', '=']) {
                continue;
            }
            let (path, is_bare) = (named.trim_end_matches('/'), !named.contains('/'));
            let exists = [root.join(path), root.join("crates").join(path)].iter().any(|path| path.exists());
            assert!(
                exists || (is_bare && files.contains(OsStr::new(path))),
                "{document} names {named}, which is not there"
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
