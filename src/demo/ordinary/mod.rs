//! The ordinary week: people at work, machines that never sleep, pipelines, a scanner, and the small
//! failures and look-alikes that a detection must live with.

mod agents;
mod catalogue;
mod cluster;
mod inventory;
mod machines;
mod people;
mod pipelines;

use super::Day;
use super::clock::{DAY, SECOND, WEEK_START};
use super::cloudtrail::{Call, Trail, bucket_additional, bucket_resource};
use super::company::{BUCKETS, NODES, SECRETS};
use super::identity::Session;
use super::rng::Rng;

/// Fills one day of all three logs.
pub fn fill(day: &mut Day, seed: u64) {
    people::work(day, seed);
    machines::run(day, seed);
    pipelines::run(day, seed);
    cluster::run(day, seed);
    agents::report(day, seed);
}

impl Day {
    fn start(&self) -> i64 {
        WEEK_START + self.index * DAY
    }

    /// The last moment at which something of this day may begin.
    fn end(&self) -> i64 {
        self.start() + DAY - SECOND
    }

    fn is_weekend(&self) -> bool {
        self.index >= 5
    }
}

/// One call of a catalogue, with its placeholders filled.
fn catalogued(
    trail: &mut Trail,
    rng: &mut Rng,
    time: i64,
    session: &Session,
    &(service, operation, request): &catalogue::Entry,
) {
    let bucket = *rng.pick(BUCKETS);
    let filled = fill_in(request, bucket, rng);
    let mut call = Call::read(service, operation, &filled);
    let (mut resources, mut additional) = (String::new(), String::new());
    if service == "s3" {
        additional = bucket_additional(rng, 0, 400);
        if request.contains("$BUCKET") {
            resources = bucket_resource(bucket);
        }
    }
    call.additional = &additional;
    call.resources = &resources;
    call.read_only = catalogue::is_read(operation);
    trail.call(time, session, &call);
}

/// Replaces `$BUCKET`, `$INSTANCE`, `$SECRET` and `$NUMBER`.
fn fill_in(request: &str, bucket: &str, rng: &mut Rng) -> String {
    if !request.contains('$') {
        return request.to_owned();
    }
    request
        .replace("$BUCKET", bucket)
        .replace("$INSTANCE", rng.pick(NODES).instance)
        .replace("$SECRET", rng.pick::<&str>(SECRETS))
        .replace("$NUMBER", &rng.below(900).to_string())
}
