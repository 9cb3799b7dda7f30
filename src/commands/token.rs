//! `weir token`.

use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who will use it; shown as author of comments and changes.
    #[arg(long, default_value = "analyst")]
    name: String,
    /// viewer, analyst, engineer or admin.
    #[arg(long, default_value = "analyst")]
    role: String,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let role: weir_api::Role = crate::node::role(&args.role)?;
    let (token, sha256) = weir_api::new_token()?;
    println!(
        "token, shown only now: {token}\n\n[[api.tokens]]\nname = {:?}\nsha256 = \"{sha256}\"\nrole = \"{}\"\n\n# or, for a source of type http:\n# token_sha256 = [\"{sha256}\"]",
        args.name,
        role.as_str()
    );
    Ok(ExitCode::SUCCESS)
}
