//! What of a running agent can be set, its mode and its model, and which of those that it offers fit what is wanted.

use reeve_types::session::PermissionMode;

use super::words::{cut, plain};
use crate::acp::{ConfigOption, ConfigValue, NewSession, SessionChoices};
use crate::profiles;

/// Modes in which agents only look, in the order in which they are looked for.
const LOOKING: [&str; 4] = ["plan", "readonly", "architect", "ask"];
/// Modes in which agents ask before they act, in the order in which they are looked for. Whoever need not be asked is
/// answered for by the session.
const ASKING: [&str; 5] = ["default", "ask", "approve", "manual", "readonly"];
/// Most models that are named to people.
const NAMED_MAX: usize = 40;

/// Something to be told to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting {
    /// Its session's mode.
    Mode(String),
    /// Its session's model.
    Model(String),
    /// One of its settings.
    Option {
        /// Which.
        id: String,
        /// What it is to be.
        value: String,
    },
}

/// Why an agent is not given a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ModelRefused {
    /// It has others.
    #[error("it does not offer the model `{wanted}`; it offers {offered}")]
    NotOffered {
        /// What was wanted.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// Nobody can choose.
    #[error("it does not let its model be chosen")]
    NoChoice,
}

/// What can be set, and what it is.
#[derive(Debug, Default)]
pub(super) struct Dials {
    modes: Option<SessionChoices>,
    models: Option<SessionChoices>,
    options: Vec<ConfigOption>,
    /// The model that the agent has when nobody chooses.
    own_model: Option<String>,
}

/// One of several, wherever the agent lets it be set.
struct Offer<'a> {
    option: Option<&'a str>,
    current: &'a str,
    /// Id and name of each.
    choices: Vec<(&'a str, &'a str)>,
}

impl<'a> Offer<'a> {
    fn among(choices: &'a SessionChoices) -> Self {
        let pairs = choices.available.iter().map(|choice| (choice.id.as_str(), choice.name.as_str()));
        Self { option: None, current: &choices.current, choices: pairs.collect() }
    }

    fn set(&self, id: &str, plainly: fn(String) -> Setting) -> Setting {
        match self.option {
            Some(option) => Setting::Option { id: option.to_owned(), value: id.to_owned() },
            None => plainly(id.to_owned()),
        }
    }

    /// The id of a model that people name by its id, by its name, or as `provider/model`.
    fn find(&self, wanted: &str) -> Option<&'a str> {
        let bare = wanted.split_once('/').map(|(_, model)| model);
        let ids = || std::iter::once(self.current).chain(self.choices.iter().map(|(id, _)| *id));
        let of = |name: &str| ids().find(|id| *id == name);
        let named = || self.choices.iter().find(|(_, name)| name.eq_ignore_ascii_case(wanted)).map(|(id, _)| *id);
        of(wanted).or_else(|| bare.and_then(of)).or_else(named)
    }
}

impl Dials {
    /// What a session began with.
    pub(super) fn of(session: &NewSession) -> Self {
        let mut dials = Self {
            modes: session.modes.clone(),
            models: session.models.clone(),
            options: session.config_options.clone(),
            own_model: None,
        };
        dials.own_model = dials.model().map(|offer| offer.current.to_owned());
        dials
    }

    fn option(&self, category: &str) -> Option<Offer<'_>> {
        let of_category = self.options.iter().filter(|option| option.category.as_deref() == Some(category));
        let mut selects = of_category.filter_map(|option| match &option.value {
            ConfigValue::Select { current, choices } => Some(Offer {
                option: Some(&option.id),
                current,
                choices: choices.iter().map(|choice| (choice.value.as_str(), choice.name.as_str())).collect(),
            }),
            ConfigValue::Switch { .. } | ConfigValue::Unknown => None,
        });
        selects.next()
    }

    fn mode(&self) -> Option<Offer<'_>> {
        self.modes.as_ref().map(Offer::among).or_else(|| self.option("mode"))
    }

    fn model(&self) -> Option<Offer<'_>> {
        self.option("model").or_else(|| self.models.as_ref().map(Offer::among))
    }

    /// What puts the agent into its own mode that fits: one in which it asks, or only looks. Nothing when it is in it, or
    /// has none.
    pub(super) fn mode_for(&self, mode: PermissionMode) -> Option<Setting> {
        let wanted: &[&str] = if mode == PermissionMode::Plan { &LOOKING } else { &ASKING };
        let one_spelling =
            |id: &str| -> String { id.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase() };
        let offer = self.mode()?;
        let safe = || offer.choices.iter().map(|(id, _)| *id).filter(|id| profiles::check_mode(id).is_ok());
        let fitting = wanted.iter().find_map(|word| safe().find(|id| one_spelling(id) == *word))?;
        (fitting != offer.current).then(|| offer.set(fitting, Setting::Mode))
    }

    /// What gives the agent a model, or its own choice back. Nothing when it has it.
    pub(super) fn model_for(&self, wanted: Option<&str>) -> Result<Option<Setting>, ModelRefused> {
        let Some(offer) = self.model() else {
            return if wanted.is_some() { Err(ModelRefused::NoChoice) } else { Ok(None) };
        };
        let id = match wanted {
            None => self.own_model.as_deref().unwrap_or(offer.current),
            Some(wanted) => offer.find(wanted).ok_or_else(|| {
                let named = offer.choices.iter().take(NAMED_MAX).map(|(id, _)| format!("`{}`", cut(&plain(id), 100)));
                let more = if offer.choices.len() > NAMED_MAX { " and more" } else { "" };
                let offered = named.collect::<Vec<_>>().join(", ") + more;
                ModelRefused::NotOffered { wanted: cut(&plain(wanted), 100), offered }
            })?,
        };
        Ok((id != offer.current).then(|| offer.set(id, Setting::Model)))
    }

    /// The model that answers, and those that the agent offers; nothing when it does not tell.
    pub(super) fn models(&self) -> Option<(String, Vec<String>)> {
        let offer = self.model()?;
        let told = |id: &str| cut(&plain(id), 200);
        Some((told(offer.current), offer.choices.iter().take(NAMED_MAX).map(|(id, _)| told(id)).collect()))
    }

    /// Remembers that something is set. Answers what it was.
    pub(super) fn set(&mut self, setting: &Setting) -> Option<Setting> {
        let replaced = |choices: &mut Option<SessionChoices>, id: &String| {
            Some(std::mem::replace(&mut choices.as_mut()?.current, id.clone()))
        };
        match setting {
            Setting::Mode(id) => replaced(&mut self.modes, id).map(Setting::Mode),
            Setting::Model(id) => replaced(&mut self.models, id).map(Setting::Model),
            Setting::Option { id, value } => {
                let option = self.options.iter_mut().find(|option| option.id == *id)?;
                let ConfigValue::Select { current, .. } = &mut option.value else { return None };
                let value = std::mem::replace(current, value.clone());
                Some(Setting::Option { id: id.clone(), value })
            }
        }
    }

    /// The agent is in a mode. Answers whether that is news.
    pub(super) fn hear_mode(&mut self, id: &str) -> bool {
        match &mut self.modes {
            Some(modes) if modes.current == id => false,
            Some(modes) => {
                id.clone_into(&mut modes.current);
                true
            }
            None => true,
        }
    }

    /// The agent's settings are these. Answers whether it has another model now.
    pub(super) fn hear_options(&mut self, options: Vec<ConfigOption>) -> bool {
        let before = self.model().map(|offer| offer.current.to_owned());
        self.options = options;
        self.model().is_some_and(|offer| before.as_deref() != Some(offer.current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acp::{ConfigChoice, NamedChoice};

    fn choices(current: &str, ids: &[&str]) -> SessionChoices {
        let choice = |id: &&str| NamedChoice { id: (*id).to_owned(), name: id.to_uppercase(), description: None };
        SessionChoices { current: current.to_owned(), available: ids.iter().map(choice).collect() }
    }

    fn option(category: &str, current: &str, values: &[&str]) -> ConfigOption {
        let choice = |value: &&str| ConfigChoice {
            value: (*value).to_owned(),
            name: String::new(),
            description: None,
            group: None,
        };
        ConfigOption {
            id: format!("the-{category}"),
            name: String::new(),
            description: None,
            category: Some(category.to_owned()),
            value: ConfigValue::Select { current: current.to_owned(), choices: values.iter().map(choice).collect() },
        }
    }

    fn dials(
        modes: Option<SessionChoices>,
        models: Option<SessionChoices>,
        config_options: Vec<ConfigOption>,
    ) -> Dials {
        Dials::of(&NewSession { session_id: "s".to_owned(), modes, models, config_options })
    }

    #[test]
    fn a_mode_that_fits_is_found_and_never_one_that_asks_nobody() {
        use PermissionMode::{AcceptEdits, Ask, Auto, Plan};
        let told = choices("auto_edit", &["yolo", "default", "plan", "auto_edit"]);
        let mode = |id: &str| Some(Setting::Mode(id.to_owned()));
        let mut claude = dials(Some(told), None, Vec::new());
        for wanted in [Ask, AcceptEdits, Auto] {
            assert_eq!(claude.mode_for(wanted), mode("default"), "{wanted:?}");
        }
        assert_eq!(claude.mode_for(Plan), mode("plan"));
        assert_eq!(claude.set(&Setting::Mode("plan".to_owned())), mode("auto_edit"));
        assert_eq!(claude.mode_for(Plan), None, "it is there already");
        assert!(!claude.hear_mode("plan") && claude.hear_mode("default"), "and hears itself say so");
        assert_eq!(claude.mode_for(Ask), None);
        let by_option =
            dials(None, None, vec![option("mode", "bypassPermissions", &["bypassPermissions", "read-only"])]);
        let read_only = Setting::Option { id: "the-mode".to_owned(), value: "read-only".to_owned() };
        assert_eq!(by_option.mode_for(Plan), Some(read_only.clone()));
        assert_eq!(by_option.mode_for(Auto), Some(read_only));
        assert_eq!(dials(Some(choices("a", &["a", "yolo"])), None, Vec::new()).mode_for(Auto), None);
        assert_eq!(Dials::default().mode_for(Ask), None);
    }

    #[test]
    fn a_model_is_set_where_the_agent_lets_it_be_set() {
        let old = dials(None, Some(choices("auto", &["auto", "m-1"])), Vec::new());
        let set = Setting::Model("m-1".to_owned());
        for named in ["m-1", "house/m-1", "M-1"] {
            assert_eq!(old.model_for(Some(named)), Ok(Some(set.clone())), "{named}");
        }
        assert_eq!(old.model_for(Some("auto")), Ok(None), "it has it");
        assert_eq!(old.model_for(None), Ok(None));

        let both = (Some(choices("a", &["a"])), vec![option("model", "a", &["a", "b"])]);
        let mut new = dials(None, both.0, both.1);
        let set = |value: &str| Setting::Option { id: "the-model".to_owned(), value: value.to_owned() };
        assert_eq!(new.model_for(Some("b")), Ok(Some(set("b"))), "settings come first");
        assert_eq!(new.set(&set("b")), Some(set("a")));
        assert_eq!(new.models(), Some(("b".to_owned(), vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(new.model_for(None), Ok(Some(set("a"))), "its own choice again");
        assert!(!new.hear_options(vec![option("model", "b", &["a", "b"])]), "no news");
        assert!(new.hear_options(vec![option("model", "c", &["a", "c"])]), "it chose another itself");
    }

    #[test]
    fn a_model_that_is_not_offered_is_refused_with_those_that_are() {
        let offers = dials(None, Some(choices("auto", &["auto", "m-1"])), Vec::new());
        let refused = offers.model_for(Some("gpt\u{1b}")).expect_err("not offered").to_string();
        assert_eq!(refused, "it does not offer the model `gpt `; it offers `auto`, `m-1`");
        assert_eq!(Dials::default().model_for(Some("m")), Err(ModelRefused::NoChoice));
        assert_eq!(Dials::default().model_for(None), Ok(None));
        let many: Vec<String> = (0..500).map(|number| format!("m-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let refused =
            dials(None, Some(choices("m-0", &many)), Vec::new()).model_for(Some("x")).expect_err("not offered");
        assert!(refused.to_string().ends_with("`m-39` and more"), "{refused}");
    }
}
