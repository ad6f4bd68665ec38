//! The configuration's own expressions, evaluated by the host.

use istio_core::stats::facts::UNKNOWN;
use istio_core::stats::plan::Use;
use wasmplugin::cel::Expression;
use wasmplugin::observer::Stream;

use crate::reading::write_part;

/// All of them, in the order of the plan.
#[derive(Debug, Default)]
pub(crate) struct Expressions {
    labels: Vec<Label>,
    samples: Vec<Expression>,
}

/// An expression for a label.
///
/// The host hands over bytes without their type, so that a number would not be known as one: it is asked for the text,
/// and only where there is none (of a truth value, in some versions) for the value itself.
#[derive(Debug)]
struct Label {
    as_text: Option<Expression>,
    plain: Expression,
    form: Form,
    value: Vec<u8>,
}

/// Which of the two has had a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    NotKnown,
    Text,
    Plain,
}

impl Expressions {
    /// Has the host parse an expression; whether it can.
    pub(crate) fn parse(&mut self, role: Use, text: &str) -> bool {
        let Ok(plain) = Expression::parse(text) else { return false };
        match role {
            Use::Label => {
                let as_text = Expression::parse(&format!("string({text})")).ok();
                self.labels.push(Label { as_text, plain, form: Form::NotKnown, value: Vec::new() });
            }
            Use::Sample => self.samples.push(plain),
        }
        true
    }

    /// Evaluates these labels for a stream.
    pub(crate) fn evaluate(&mut self, stream: Stream, places: &[usize]) {
        for place in places {
            if let Some(label) = self.labels.get_mut(*place) {
                label.evaluate(stream);
            }
        }
    }

    /// Appends the values of these labels to a key.
    pub(crate) fn write_key(&self, places: &[usize], key: &mut Vec<u8>) {
        for label in places.iter().filter_map(|place| self.labels.get(*place)) {
            write_part(key, &label.value);
        }
    }

    /// The values of these labels.
    pub(crate) fn texts<'a>(&'a self, places: &'a [usize]) -> impl Iterator<Item = Box<str>> + 'a {
        let labels = places.iter().filter_map(|place| self.labels.get(*place));
        labels.map(|label| String::from_utf8_lossy(&label.value).into())
    }

    /// What a metric of the configuration's counts for a stream: a whole number, if there is one.
    pub(crate) fn sample(&self, stream: Stream, place: usize, scratch: &mut Vec<u8>) -> Option<i64> {
        self.samples.get(place)?.evaluate_into(&stream, scratch).ok()?;
        scratch.as_slice().try_into().ok().map(i64::from_le_bytes)
    }
}

impl Label {
    fn evaluate(&mut self, stream: Stream) {
        if self.form != Form::Plain
            && self.as_text.as_ref().is_some_and(|text| text.evaluate_into(&stream, &mut self.value).is_ok())
        {
            self.form = Form::Text;
        } else if self.form != Form::Text && self.plain.evaluate_into(&stream, &mut self.value).is_ok() {
            self.form = Form::Plain;
            let flag = match *self.value {
                [0] => "false",
                [1] => "true",
                _ => return,
            };
            self.set(flag);
        } else {
            self.set(UNKNOWN);
        }
    }

    fn set(&mut self, text: &str) {
        self.value.clear();
        self.value.extend_from_slice(text.as_bytes());
    }
}
