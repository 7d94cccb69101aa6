//! From `[stream.NAME.template]` to the settings of a template that compiles.

use super::keys;
use super::reader::Section;
use super::reader::report::{Given, Report};
use crate::stream::settings::{
    DataSource, MaskSettings, PayloadFormat, Shape, ShapeOptions, Template, TemplateSettings,
};

/// A stream's template as configured, and compiled.
pub(super) struct TemplatePlan {
    pub(super) settings: TemplateSettings,
    pub(super) template: Template,
}

/// The template of a stream; `Some(None)` without one, `None` only when a mistake was reported.
/// `preset` is the shape of one that does not say another.
pub(super) fn read_template<'r, 'i>(
    report: &'r Report<'i>,
    stream: &Section<'r, 'i>,
    preset: Option<Shape>,
) -> Option<Option<TemplatePlan>> {
    if !stream.has("template") && preset.is_none() {
        return Some(None);
    }
    let section = stream.section("template", &keys::template::TEMPLATE);
    let mask = section.section("mask", &keys::template::MASK);
    let place = section.place();
    let masks = MaskSettings {
        fields: list(mask.texts("fields")),
        patterns: list(mask.texts("patterns")),
        text: mask.text("text").map(|text| text.value),
    };
    mask.finish();
    let shape = section.one_of("shape");
    let source = section.one_of("data_source");
    let option = |name| section.text(name).map(|text| text.value);
    let text = section.rule("text").map(|text| text.value);
    let preset = preset.filter(|_| text.is_none());
    let shape = named(&Shape::NAMES, shape.as_ref()).or(preset);
    let settings = TemplateSettings {
        shape: shape.unwrap_or_default(),
        fields: list(section.texts("fields")),
        drop: list(section.texts("drop")),
        masks,
        text,
        data_source: named(&DataSource::NAMES, source.as_ref()),
        payload: PayloadFormat {
            format: section.rule("payload_format").map(|text| text.value),
            separator: section.rule("separator").map(|text| text.value),
        },
        options: ShapeOptions {
            index: option("index"),
            source: option("source"),
            sourcetype: option("sourcetype"),
            application: option("application"),
            vendor: option("vendor"),
            product: option("product"),
            version: option("version"),
        },
    };
    section.finish();
    match Template::compile(&settings) {
        Ok(template) => Some(Some(TemplatePlan { settings, template })),
        Err(error) => {
            report.say(&place, format!("does not hold: {error}"));
            None
        }
    }
}

fn list(given: Option<Given<Vec<String>>>) -> Vec<String> {
    given.map(|given| given.value).unwrap_or_default()
}

/// The value of that name.
fn named<T: Copy>(names: &[(&'static str, T)], given: Option<&Given<&'static str>>) -> Option<T> {
    let given = given?;
    let known = names.iter().find(|(name, _)| *name == given.value);
    known.map(|(_, value)| *value)
}
