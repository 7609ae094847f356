//! Pieces of content, in prompts and in what agents say.

use agent_client_protocol_schema::v1 as wire;
use serde::Serialize;

use super::AcpError;

/// One piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// Words.
    Text {
        /// Markdown, usually.
        text: String,
    },
    /// A picture.
    Image {
        /// `image/png`.
        mime_type: String,
        /// In base64.
        data: String,
        /// Where it came from.
        uri: Option<String>,
    },
    /// Sound.
    Audio {
        /// `audio/wav`.
        mime_type: String,
        /// In base64.
        data: String,
    },
    /// Something that can be looked up.
    Link {
        /// Where.
        uri: String,
        /// What it is called.
        name: String,
        /// For people.
        title: Option<String>,
        /// For people, longer.
        description: Option<String>,
        /// Of what kind it is.
        mime_type: Option<String>,
        /// How large it is, in bytes.
        size: Option<i64>,
    },
    /// A text, as it is there.
    Document {
        /// Where it is.
        uri: String,
        /// Of what kind it is.
        mime_type: Option<String>,
        /// The text.
        text: String,
    },
    /// Bytes, as they are there.
    Blob {
        /// Where they are.
        uri: String,
        /// Of what kind they are.
        mime_type: Option<String>,
        /// In base64.
        data: String,
    },
    /// Of a kind that this version of the protocol has not.
    Unknown,
}

impl ContentBlock {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// The words, if that is what it is.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            _ => None,
        }
    }
}

impl From<wire::ContentBlock> for ContentBlock {
    fn from(block: wire::ContentBlock) -> Self {
        match block {
            wire::ContentBlock::Text(text) => Self::Text { text: text.text },
            wire::ContentBlock::Image(image) => {
                Self::Image { mime_type: image.mime_type, data: image.data, uri: image.uri }
            }
            wire::ContentBlock::Audio(audio) => Self::Audio { mime_type: audio.mime_type, data: audio.data },
            wire::ContentBlock::ResourceLink(link) => Self::Link {
                uri: link.uri,
                name: link.name,
                title: link.title,
                description: link.description,
                mime_type: link.mime_type,
                size: link.size,
            },
            wire::ContentBlock::Resource(resource) => match resource.resource {
                wire::EmbeddedResourceResource::TextResourceContents(text) => {
                    Self::Document { uri: text.uri, mime_type: text.mime_type, text: text.text }
                }
                wire::EmbeddedResourceResource::BlobResourceContents(blob) => {
                    Self::Blob { uri: blob.uri, mime_type: blob.mime_type, data: blob.blob }
                }
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }
}

impl TryFrom<ContentBlock> for wire::ContentBlock {
    type Error = AcpError;

    fn try_from(block: ContentBlock) -> Result<Self, AcpError> {
        Ok(match block {
            ContentBlock::Text { text } => Self::Text(wire::TextContent::new(text)),
            ContentBlock::Image { mime_type, data, uri } => {
                Self::Image(wire::ImageContent::new(data, mime_type).uri(uri))
            }
            ContentBlock::Audio { mime_type, data } => Self::Audio(wire::AudioContent::new(data, mime_type)),
            ContentBlock::Link { uri, name, title, description, mime_type, size } => Self::ResourceLink(
                wire::ResourceLink::new(name, uri)
                    .title(title)
                    .description(description)
                    .mime_type(mime_type)
                    .size(size),
            ),
            ContentBlock::Document { uri, mime_type, text } => {
                let contents = wire::TextResourceContents::new(text, uri).mime_type(mime_type);
                embedded(wire::EmbeddedResourceResource::TextResourceContents(contents))
            }
            ContentBlock::Blob { uri, mime_type, data } => {
                let contents = wire::BlobResourceContents::new(data, uri).mime_type(mime_type);
                embedded(wire::EmbeddedResourceResource::BlobResourceContents(contents))
            }
            ContentBlock::Unknown => return Err(AcpError::Unsupported { what: "content of an unknown kind" }),
        })
    }
}

fn embedded(resource: wire::EmbeddedResourceResource) -> wire::ContentBlock {
    wire::ContentBlock::Resource(wire::EmbeddedResource::new(resource))
}
