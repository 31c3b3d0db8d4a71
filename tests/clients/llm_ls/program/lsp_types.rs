// Of the crate lsp-types what llm-ls's parameters name.
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextDocumentPositionParams {
    pub text_document: serde_json::Value,
    pub position: serde_json::Value,
}
