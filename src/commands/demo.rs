//! `weir demo`: a week of a small company with three attacks hidden in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir_connectors::FormatChoice;

use crate::commands::replay::{INTERRUPTED, Replayed, replay};
use crate::config::{self, Config};
use crate::node::Purpose;
use crate::{demo, report, serve};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Another week of the same company.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// End after the incidents are shown, without serving the API.
    #[arg(long)]
    exit: bool,
}

pub async fn run(mut config: Config, args: Args) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let logs = folder.path().join("logs");
    let scenario = demo::write_scenario(&logs, args.seed)?;
    println!(
        "wrote a week of logs: {} events in {} files, {} MB; replaying them",
        scenario.events,
        scenario.files.len(),
        scenario.bytes >> 20
    );
    enrichment(&mut config, folder.path())?;
    let file = config::FileSource {
        paths: vec![logs],
        format: FormatChoice::Auto,
        follow: false,
        cluster: Some("demo".into()),
        lateness: Some(Duration::from_micros(demo::MAX_LATENESS_US as u64)),
        idle_after: None,
        max_skew: None,
        scan_gap: None,
        max_record_bytes: None,
        mapping: None,
        flow_fields: None,
    };
    config.source = BTreeMap::from([("demo".to_owned(), config::Source::File(file))]);
    let done = replay(&config, &folder.path().join("data"), Purpose::Replay).await?;
    if done.interrupted {
        eprintln!("interrupted before all of it was read");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    show(&done)?;
    if args.exit {
        return Ok(ExitCode::SUCCESS);
    }
    let data = folder.path().join("data");
    let api = match serve::start(
        &config,
        &data,
        done.store.clone(),
        done.health.clone(),
        watch::channel(Arc::new(done.rules.clone())).1,
    )
    .await
    {
        Ok(api) => api,
        Err(error) => {
            // A demo must not fail because another program has the port.
            tracing::warn!("{error:#}; taking a free port");
            config.api.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            serve::start(
                &config,
                &data,
                done.store.clone(),
                done.health.clone(),
                watch::channel(Arc::new(done.rules.clone())).1,
            )
            .await?
        }
    };
    done.health.update(|health| health.ready = true);
    println!("\nthe API listens on http://{}: try", api.address);
    println!(
        "  curl -s http://{}/api/v1/incidents?min_level=high",
        api.address
    );
    println!(
        "  curl -s http://{}/api/v1/sql -H 'content-type: application/json' \\",
        api.address
    );
    println!(
        "    -d '{{\"query\": \"SELECT actor_user_name, count(*) AS calls FROM cloud_audit GROUP BY 1 ORDER BY 2 DESC LIMIT 5\"}}'"
    );
    println!(
        "Ctrl-C ends it; everything is in {} until then",
        folder.path().display()
    );
    super::run::terminated().await;
    api.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Puts the demo's databases and lists where enrichment reads files.
pub fn enrichment(config: &mut Config, folder: &Path) -> anyhow::Result<()> {
    let put = |name: &str, bytes: &[u8]| -> anyhow::Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, bytes)?;
        Ok(path)
    };
    config.enrichment.geo_city = Some(put("demo-city.mmdb", demo::CITY_MMDB)?);
    config.enrichment.geo_asn = Some(put("demo-asn.mmdb", demo::ASN_MMDB)?);
    config.enrichment.indicators =
        vec![put("indicators.csv", demo::INDICATORS_CSV.as_bytes())?.into()];
    config.enrichment.assets = Some(put("assets.csv", demo::ASSETS_CSV.as_bytes())?);
    Ok(())
}

fn show(done: &Replayed) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let incidents = done.incidents.iter().map(|stored| &stored.incident);
    report::incidents(&mut stdout, incidents, &done.alerts)?;
    writeln!(
        stdout,
        "\n{} incidents, {} alerts by {} rules\n{}",
        done.incidents.len(),
        done.alerts.len(),
        done.rules.len(),
        report::counts(&done.counts(), &done.reasons(), done.seconds)
    )?;
    Ok(())
}
