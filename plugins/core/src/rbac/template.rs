//! Path templates: `/store/{*}/cart` and `/files/{**}`.

use super::matcher::Reach;

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Exactly this text.
    Literal(Box<[u8]>),
    /// `{*}`: one segment that is not empty.
    One,
}

/// A template: segments between slashes, and perhaps `{**}` with what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// What comes before `{**}`, or everything.
    pub(super) segments: Vec<Segment>,
    /// What the path ends with after `{**}`; `None` without that operator.
    pub(super) tail: Option<Box<[u8]>>,
}

impl Template {
    /// Whether a path of a policy is a template.
    pub(super) fn is(path: &str) -> bool {
        let has = |operator: &[u8]| path.as_bytes().windows(operator.len()).any(|bytes| bytes == operator);
        has(b"{*}") || has(b"{**}")
    }

    /// Reads a template, or says why it is none. The rules are those of Istio's webhook, and Envoy's leading slash.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut tail: Option<String> = None;
        let inner = path.strip_prefix('/').ok_or_else(|| format!("template `{path}` must begin with `/`"))?;
        let last = inner.trim_end_matches('/');
        for (place, segment) in path.split('/').enumerate() {
            let operator = matches!(segment, "{*}" | "{**}");
            if operator && tail.is_some() {
                return Err(format!("`{{**}}` must be the last operator of `{path}`"));
            }
            // The slashes around a template are free; between them every segment has characters.
            let outside = place == 0 || (segment.is_empty() && trailing(inner, last, place));
            if !operator && !outside && !literal(segment) {
                return Err(format!(
                    "segment `{segment}` of `{path}` must be `{{*}}`, `{{**}}` or of letters, digits and `-._~%!$&'()+,;:@=`"
                ));
            }
            match (&mut tail, segment) {
                (Some(tail), _) => {
                    tail.push('/');
                    tail.push_str(segment);
                }
                (None, "{**}") => tail = Some(String::new()),
                (None, "{*}") => segments.push(Segment::One),
                (None, _) => segments.push(Segment::Literal(segment.as_bytes().into())),
            }
        }
        Ok(Self { segments, tail: tail.map(|tail| tail.into_bytes().into()) })
    }

    /// Whether a path, without query and fragment, fits.
    pub(super) fn fits(&self, path: &[u8], reach: Reach) -> bool {
        let mut rest = Some(path);
        for segment in &self.segments {
            let Some(left) = rest else { return false };
            let (head, next) = split(left);
            let fits = match segment {
                Segment::Literal(text) => head == &**text,
                Segment::One => !head.is_empty() && reach.covers(allowed(head)),
            };
            if !fits {
                return false;
            }
            rest = next;
        }
        match (&self.tail, rest) {
            (None, rest) => rest.is_none(),
            (Some(_), None) => false,
            (Some(tail), Some(rest)) => rest.strip_suffix(&**tail).is_some_and(|middle| reach.covers(allowed(middle))),
        }
    }
}

/// The first segment of a path, and what follows the slash behind it.
pub(super) fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => path.split_at_checked(slash).map_or((path, None), |(head, rest)| (head, rest.get(1..))),
        None => (path, None),
    }
}

/// Whether Envoy's operators match these characters; the slash is for `{**}`, a segment has none.
pub(super) fn allowed(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;:@=/".contains(byte))
}

/// Whether the segment at `place` lies in the slashes at the end of a template.
fn trailing(inner: &str, last: &str, place: usize) -> bool {
    inner.len() > last.len() && place > last.split('/').count()
}

/// Whether a segment may stand in a template for itself.
fn literal(segment: &str) -> bool {
    !segment.is_empty()
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(template: &str, path: &str) -> bool {
        Template::parse(template).unwrap().fits(path.as_bytes(), Reach::Envoy)
    }

    #[test]
    fn templates_fit_as_in_envoy() {
        for (template, path, expected) in [
            ("/foo/{*}", "/foo/bar", true),
            ("/foo/{*}", "/foo/", false),
            ("/foo/{*}", "/foo/a/b", false),
            ("/foo/{*}/", "/foo/a/", true),
            ("/foo/{*}/", "/foo/a", false),
            ("/foo/{**}", "/foo/", true),
            ("/foo/{**}", "/foo//", true),
            ("/foo/{**}", "/foo", false),
            ("/foo/{**}/", "/foo/bar/baz.txt", false),
            ("/foo/{**}/", "/foo/bar/", true),
            ("/store/{**}/cart", "/store//cart", true),
            ("/store/{**}/cart", "/store/cart", false),
            ("/store/{**}/cart", "/store/a/b/cart", true),
            ("/{**}", "/", true),
            ("/{*}/{**}", "/a/b/c", true),
            ("/{*}/{**}", "//b", false),
            ("/foo/{*}", "/foo/a[", false),
            ("/foo/{**}", "/foo/a/[", false),
        ] {
            assert_eq!(fits(template, path), expected, "{template} {path}");
        }
    }

    #[test]
    fn a_bracket_does_not_slip_past_where_a_match_refuses() {
        let template = Template::parse("/admin/{**}").unwrap();
        assert!(template.fits(b"/admin/x[", Reach::Every) && !template.fits(b"/other/x[", Reach::Every));
        assert!(!Template::parse("/a/{*}").unwrap().fits(b"/a/b/c", Reach::Every));
    }

    #[test]
    fn what_istio_would_refuse_is_no_template() {
        for path in ["/{**}/{*}", "/{**}/{**}", "/a{*}", "/{*}b", "/{a}/{*}", "/*/{*}", "/a//{*}", "/a b/{*}", "a/{*}"]
        {
            assert!(Template::parse(path).is_err(), "{path}");
        }
        for path in ["/{*}", "/{**}", "/a/{*}/", "/a/{*}/b/{**}/c.txt", "/{**}/"] {
            assert!(Template::parse(path).is_ok(), "{path}");
        }
    }
}
