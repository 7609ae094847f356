//! What is said to a model and what it says back, in words that no provider owns.
//!
//! The shapes follow what Anthropic's Messages, OpenAI's chat completions and responses, and Gemini's `generateContent`
//! have in common; `reeve-model` translates. They are stored in sessions as they are, so their JSON is stable.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelRole {
    /// The person, or the results of tools.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: ModelRole,
    /// What, in order.
    pub blocks: Vec<Block>,
}

impl Message {
    /// Words of a person.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: ModelRole::User, blocks: vec![Block::Text { text: text.into() }] }
    }
}

/// A piece of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A picture.
    Image {
        /// `image/png`, `image/jpeg`, `image/webp` or `image/gif`.
        media_type: String,
        /// The bytes in standard base64.
        data: String,
    },
    /// What the model thought before it answered; goes back to the same provider unchanged.
    Thinking {
        /// The thought, which may be a summary or empty.
        text: String,
        /// The provider's seal over it, without which it must not be sent back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// A thought that the provider keeps to itself; goes back unchanged.
    RedactedThinking {
        /// The provider's bytes.
        data: String,
    },
    /// The model wants a tool to be called.
    ToolUse {
        /// The call's id, unique in the conversation.
        id: String,
        /// Which tool.
        name: String,
        /// With which arguments; what a model sent that is no JSON object stands here as a string.
        input: Value,
        /// The provider's seal over the call (Gemini's `thoughtSignature`), to be sent back unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// What the tool gave back.
    ToolResult {
        /// The call's id.
        tool_use_id: String,
        /// The tool.
        name: String,
        /// In words.
        content: String,
        /// Whether it failed.
        #[serde(default)]
        is_error: bool,
    },
}

/// A tool as a model is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTool {
    /// Its name: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// The JSON Schema of its arguments, an object.
    pub input_schema: Value,
}

/// Whether the model may, must or must not call tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// None.
    None,
}

/// One request to a model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Prompt {
    /// Standing instructions.
    pub system: String,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// What it may call.
    pub tools: Vec<ModelTool>,
    /// Whether it may, must or must not.
    pub tool_choice: ToolChoice,
    /// Longest answer, in tokens.
    pub max_output_tokens: Option<u32>,
    /// Tokens it may think with; none when absent.
    pub thinking_tokens: Option<u32>,
    /// How free its choice of words is, 0 to 1.
    pub temperature: Option<f32>,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It had said what it had to say.
    EndTurn,
    /// It waits for the results of tools.
    ToolUse,
    /// The answer was cut at its longest.
    MaxTokens,
    /// The provider or the model would not answer.
    Refusal,
    /// A reason that we have no word for.
    Other,
}

/// Tokens of one or more calls. Those read from a cache are not counted in `input_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Read and paid in full.
    #[serde(default)]
    pub input_tokens: u64,
    /// Written, thoughts included.
    #[serde(default)]
    pub output_tokens: u64,
    /// Read from the provider's cache.
    #[serde(default)]
    pub cache_read_tokens: u64,
    /// Put into the provider's cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Price in millionths of a US dollar, where the model's price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.cost_micro_usd = match (self.cost_micro_usd, other.cost_micro_usd) {
            (None, None) => None,
            (left, right) => Some(left.unwrap_or(0) + right.unwrap_or(0)),
        };
    }
}

/// A model's whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The provider's id of it.
    pub id: String,
    /// The model that answered, `provider/model`.
    pub model: String,
    /// What it said, in order.
    pub blocks: Vec<Block>,
    /// Why it stopped.
    pub stop: StopReason,
    /// What it cost.
    pub usage: Usage,
}
