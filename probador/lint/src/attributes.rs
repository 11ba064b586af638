//! What attributes say that rules care about: code that only tests see, and documentation.

use proc_macro2::{TokenStream, TokenTree};

/// Whether an item is compiled for tests only: `#[test]`, or a `cfg` that asks for `test`.
pub fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test")
            || (path.is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| asks_for_test(list.tokens.clone())))
    })
}

/// `test`, or `all(.., test, ..)`; `any(test, ..)` and `not(test)` are compiled without tests too.
fn asks_for_test(tokens: TokenStream) -> bool {
    let tokens: Vec<_> = tokens.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(word), TokenTree::Group(group)] if word == "all" => {
            let inner: Vec<_> = group.stream().into_iter().collect();
            inner
                .split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))
                .any(|part| asks_for_test(part.iter().cloned().collect()))
        }
        _ => false,
    }
}

/// Whether the documentation has the heading `# Safety`.
pub(super) fn documents_safety(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Ok(documented) = attribute.meta.require_name_value() else { return false };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &documented.value else {
            return false;
        };
        documented.path.is_ident("doc") && text.value().lines().any(|line| line.trim() == "# Safety")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_test_is_for_tests_only() {
        let is_test = |text: &str| {
            let item: syn::ItemFn = syn::parse_str(&format!("{text} fn a() {{}}")).unwrap();
            is_test_only(&item.attrs)
        };
        for attribute in [
            "#[test]",
            "#[cfg(test)]",
            "#[cfg(all(test, unix))]",
            "#[cfg(all(unix, all(test)))]",
            "#[cfg(all(feature = \"slow\", test))]",
        ] {
            assert!(is_test(attribute), "{attribute}");
        }
        for attribute in
            ["", "#[cfg(unix)]", "#[cfg(not(test))]", "#[cfg(any(test, unix))]", "#[cfg(feature = \"test\")]"]
        {
            assert!(!is_test(attribute), "{attribute}");
        }
    }
    #[test]
    fn only_a_heading_in_the_documentation_documents_safety() {
        let documents = |text: &str| {
            let item: syn::ItemFn = syn::parse_str(&format!("{text} unsafe fn a() {{}}")).unwrap();
            documents_safety(&item.attrs)
        };
        for attributes in
            ["/// # Safety\n", "#[doc = \"Reads.\\n\\n# Safety\\nOnce.\"]", "#[inline]\n/// # Safety\n"]
        {
            assert!(documents(attributes), "{attributes}");
        }
        for attributes in [
            "",
            "/// Safety first.\n",
            "/// ## Safety\n",
            "#[doc = include_str!(\"safety.md\")]",
            "#[deprecated = \"# Safety\"]",
            "#[inline]",
        ] {
            assert!(!documents(attributes), "{attributes}");
        }
    }
}
