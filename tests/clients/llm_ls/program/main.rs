// llm-ls without its editor's side: its own code makes the request, sends it and reads the reply. A line of JSON in, its
// parameters and the prompt, is a line out: the texts, or the error as it is shown.
mod backend;
mod error;

use backend::{build_body, build_headers, parse_generations};
use custom_types::llm_ls::{Backend, GetCompletionsParams};
use error::Result;
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use std::time::Instant;

pub const NAME: &str = "llm-ls";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Serialize, Deserialize)]
pub struct Generation {
    generated_text: String,
}

/// Its log.
macro_rules! info {
    ($($told:tt)*) => {};
}
macro_rules! debug {
    ($($told:tt)*) => {};
}

// `request_completion` and `build_url`, as they stand in its main.rs.
include!("requests.rs");

#[derive(Deserialize)]
struct Asked {
    prompt: String,
    params: GetCompletionsParams,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let client = reqwest::Client::new();
    for line in std::io::stdin().lock().lines() {
        let asked: Asked = serde_json::from_str(&line.expect("a line")).expect("a request");
        let told = match request_completion(&client, asked.prompt, &asked.params).await {
            Ok(generations) => serde_json::json!({ "generations": generations }),
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        };
        println!("{told}");
    }
}
