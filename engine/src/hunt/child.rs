//! The process that a query runs in: one JSON request on its stdin, one JSON answer on its stdout.
//!
//! The child limits nothing itself: whoever writes its `main` sets the hard limits on memory and CPU time
//! before calling [`child_main`]. The runner trusts nothing that comes back: neither its size, nor its
//! time, nor that it comes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::{Limits, QueryResult, Refusal, guard, run, tables};
use crate::archive::Archive;
use crate::store::SharedStore;
use crate::{Error, Result, Tables};

/// Folder of the archive below the data folder.
const EVENTS: &str = "events";
/// Environment that a child keeps; it has no business with the rest, least of all with secrets.
const KEPT: &[&str] = &["PATH", "LD_LIBRARY_PATH", "TMPDIR"];
/// Bytes kept of what a child says on stderr.
const MAX_COMPLAINT: usize = 8 << 10;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    sql: String,
    data_dir: PathBuf,
    limits: Limits,
    #[serde(default)]
    tables: BTreeMap<String, PathBuf>,
}

type Answer = std::result::Result<QueryResult, Refusal>;

/// Answers one request. `open_store` opens the store of a data folder for reading, where there is one; it is
/// called only if the query names `alerts` or `incidents`; `read_tables` reads reference tables, by name. Fails
/// only if it cannot read or answer.
pub async fn child_main<F, S, T>(
    input: impl Read,
    mut output: impl Write,
    open_store: F,
    read_tables: T,
) -> Result<()>
where
    F: FnOnce(PathBuf) -> S,
    S: Future<Output = Result<Option<SharedStore>>>,
    T: FnOnce(&BTreeMap<String, PathBuf>) -> Result<Tables, String>,
{
    let request: Request = serde_json::from_reader(input)
        .map_err(|e| Error::Query(format!("request to the query process: {e}")))?;
    let tables = read_tables(&request.tables);
    let answer: Answer = answer(request, tables, open_store).await;
    let json = serde_json::to_vec(&answer)
        .map_err(|e| Error::Query(format!("answer of the query process: {e}")))?;
    output
        .write_all(&json)
        .map_err(|e| Error::io("stdout", e))?;
    output.flush().map_err(|e| Error::io("stdout", e))
}

async fn answer<F, S>(request: Request, reference: Result<Tables, String>, open_store: F) -> Answer
where
    F: FnOnce(PathBuf) -> S,
    S: Future<Output = Result<Option<SharedStore>>>,
{
    let failed = |e: Error| Refusal::failed(e.to_string());
    let limits = &request.limits;
    let checked = guard::check(&request.sql, limits)?;
    let ctx = run::session(limits).map_err(failed)?;
    let archive = Archive::open(request.data_dir.join(EVENTS)).map_err(failed)?;
    archive.register(&ctx).map_err(failed)?;
    let reference = reference.map_err(Refusal::failed)?;
    reference.register(&ctx).map_err(failed)?;
    let names = |table: &str| {
        let last = |name: &String| name.rsplit('.').next() == Some(table);
        // The catalogue lists every table, so all have to be there.
        (checked.tables.iter()).any(|name| last(name) || name.starts_with("information_schema"))
    };
    let mut notes = vec![];
    if names("alerts") || names("incidents") {
        let store = open_store(request.data_dir.clone()).await.map_err(failed)?;
        let alerts = tables::register_alerts(&ctx, store.as_ref()).await;
        notes.extend(alerts.map_err(failed)?);
        let incidents = tables::register_incidents(&ctx, store.as_ref()).await;
        notes.extend(incidents.map_err(failed)?);
    }
    let mut result = run::run_checked(&ctx, checked, limits).await?;
    result.notes = notes;
    Ok(result)
}

/// Starts children and judges how they ended. Clones share the bound on how many run at once.
#[derive(Debug, Clone)]
pub struct ChildRunner {
    /// Usually the running program itself.
    pub program: PathBuf,
    /// What makes the program call [`child_main`].
    pub args: Vec<String>,
    /// Folder that holds the archive (as `events`) and the store.
    pub data_dir: PathBuf,
    pub limits: Limits,
    /// Reference tables: name → file.
    pub tables: BTreeMap<String, PathBuf>,
    slots: Arc<Semaphore>,
}

impl ChildRunner {
    /// `at_once`: children that may run side by side; further queries wait for a place.
    pub fn new(
        program: PathBuf,
        args: Vec<String>,
        data_dir: PathBuf,
        limits: Limits,
        at_once: usize,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(at_once.max(1)));
        Self {
            program,
            args,
            data_dir,
            limits,
            tables: BTreeMap::new(),
            slots,
        }
    }

    pub async fn run(&self, sql: &str) -> Answer {
        self.run_limited(sql, self.limits.clone()).await
    }

    /// [`run`](Self::run) with a limit on rows of its own.
    pub async fn run_rows(&self, sql: &str, rows: usize) -> Answer {
        self.run_limited(sql, self.limits.clone().with_rows(rows))
            .await
    }

    async fn run_limited(&self, sql: &str, limits: Limits) -> Answer {
        // Most bad queries end here, before they cost a process.
        guard::check(sql, &limits)?;
        let place = tokio::time::timeout(limits.timeout, self.slots.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Refusal::timeout(
                "too many queries are running; try again in a moment",
            ));
        };
        let request = Request {
            sql: sql.to_owned(),
            data_dir: self.data_dir.clone(),
            limits: limits.clone(),
            tables: self.tables.clone(),
        };
        let request = serde_json::to_vec(&request).map_err(|e| Refusal::failed(e.to_string()))?;
        let mut child = self.spawn()?;
        let talk = tokio::time::timeout(limits.timeout, talk(&mut child, request, &limits)).await;
        let ended = match talk {
            Ok(ended) => ended,
            Err(_) => Err(Refusal::out_of_time(&limits)),
        };
        if ended.is_err() {
            // Dropping would kill it too, but leave its end to a background task.
            let _ = child.kill().await;
        }
        let (status, answer, complaint) = ended?;
        judge(status, &answer, &complaint, &limits)
    }

    fn spawn(&self) -> std::result::Result<Child, Refusal> {
        let kept = KEPT
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(kept)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Refusal::failed(format!("cannot start {}: {e}", self.program.display())))
    }
}

type Ended = (ExitStatus, Vec<u8>, Vec<u8>);

/// Sends the request and waits for the end, reading no more than an answer may have.
async fn talk(
    child: &mut Child,
    request: Vec<u8>,
    limits: &Limits,
) -> std::result::Result<Ended, Refusal> {
    let failed = |e: std::io::Error| Refusal::failed(format!("query process: {e}"));
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Refusal::failed("query process has no pipes"));
    };
    let ask = async move {
        // A child that died early does not read; how it ended says more than this error.
        let _ = stdin.write_all(&request).await;
    };
    // Escapes can make JSON longer than the bytes that were counted.
    let most = limits.max_bytes * 2 + (1 << 20);
    let listen = async {
        let (answer, complaint) = tokio::join!(read(stdout, most), read(stderr, MAX_COMPLAINT));
        let (answer, whole) = answer.map_err(failed)?;
        if !whole {
            return Err(Refusal::too_large(format!(
                "the answer has more than {most} bytes; select fewer columns or rows"
            )));
        }
        Ok((answer, complaint.map_err(failed)?.0))
    };
    let ((), heard) = tokio::join!(ask, listen);
    let (answer, complaint) = heard?;
    let status = child.wait().await.map_err(failed)?;
    Ok((status, answer, complaint))
}

/// Up to `most` bytes, and whether that was all. Stops reading there: the writer then gets an error.
async fn read(from: impl AsyncRead + Unpin, most: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut bytes = vec![];
    from.take(most as u64 + 1).read_to_end(&mut bytes).await?;
    let whole = bytes.len() <= most;
    bytes.truncate(most);
    Ok((bytes, whole))
}

fn judge(status: ExitStatus, answer: &[u8], complaint: &[u8], limits: &Limits) -> Answer {
    if status.success() {
        return serde_json::from_slice(answer).unwrap_or_else(|e| {
            Err(Refusal::failed(format!(
                "the query process gave no answer: {e}"
            )))
        });
    }
    let complaint = String::from_utf8_lossy(complaint);
    let says = |text: &str| complaint.contains(text);
    if says("overflowed its stack") {
        return Err(Refusal::too_large(
            "the query is too deeply nested; name its parts with WITH",
        ));
    }
    let exhausted = [
        "memory allocation of",
        "Cannot allocate memory",
        "failed to spawn thread",
    ];
    match signal(status) {
        Some(SIGXCPU) => Err(Refusal::out_of_time(limits)),
        // The kernel's killer says nothing; who else would kill it.
        Some(SIGKILL) => Err(Refusal::out_of_memory("its process was killed")),
        _ if exhausted.into_iter().any(says) => {
            Err(Refusal::out_of_memory("its process reached its limit"))
        }
        _ => {
            let last = complaint.lines().rev().find(|line| !line.is_empty());
            Err(Refusal::failed(format!(
                "the query process ended with {status}: {}",
                last.unwrap_or("it said nothing")
            )))
        }
    }
}

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}
#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}
