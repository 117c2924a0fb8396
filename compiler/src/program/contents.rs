//! The types that hold the contents of sets and their changes, made from entries of the catalogue.

/// Defines a struct with one typed container for each entry of the catalogue (see [`set_catalogue`](crate::set_catalogue)), a
/// struct of their changes, and what can be done with either set by set.
#[macro_export]
#[doc(hidden)]
macro_rules! set_contents {
    (
        $(#[$contents_doc:meta])* contents $contents:ident;
        $(#[$delta_doc:meta])* delta $delta:ident;
        $($(#[$doc:meta])* $field:ident: $type:ty = $set:ident, $name:literal, $kind:ident,
            ($form:expr), ($planning:expr), ($tables:expr);)+
    ) => {
        $(#[$contents_doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $contents {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl $contents {
            pub const EMPTY: Self = Self { $($field: <$type>::new(),)+ };

            /// How many elements there are, catch-alls not counted.
            pub fn len(&self) -> usize {
                0 $(+ self.$field.count())+
            }

            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// How many elements of the set there are, its catch-all not counted. A set that is not among these has none.
            pub fn count(&self, set: SetName) -> usize {
                match set {
                    $(SetName::$set => self.$field.count(),)+
                    _ => 0,
                }
            }

            /// The elements of the set, its catch-all not among them, in order.
            pub fn elements(&self, set: SetName) -> Box<dyn Iterator<Item = Element> + '_> {
                match set {
                    $(SetName::$set => {
                        let entries = self.$field.entries();
                        Box::new(entries.map(|(key, value)| kind::$kind::element(key, value)))
                    })+
                    _ => Box::new(std::iter::empty()),
                }
            }

            /// The element that the set has under the key of this one.
            pub fn get(&self, set: SetName, element: Element) -> Option<Element> {
                match set {
                    $(SetName::$set => {
                        let (key, _) = kind::$kind::entry(element)?;
                        Some(kind::$kind::element(key, self.$field.value(&key)?))
                    })+
                    _ => None,
                }
            }

            /// Puts an element in the place of whatever has its key. The catch-all, and an element that the set cannot hold,
            /// change nothing.
            pub fn insert(&mut self, set: SetName, element: Element) {
                match set {
                    $(SetName::$set => {
                        if let Some((key, value)) = kind::$kind::entry(element) {
                            self.$field.put(key, value);
                        }
                    })+
                    _ => {}
                }
            }

            /// Removes what has the element's key.
            pub fn remove(&mut self, set: SetName, element: Element) {
                match set {
                    $(SetName::$set => {
                        if let Some((key, _)) = kind::$kind::entry(element) {
                            self.$field.take(&key);
                        }
                    })+
                    _ => {}
                }
            }
        }

        $(#[$delta_doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $delta {
            $(pub $field: Edits<<kind::$kind as Kind>::Key, <kind::$kind as Kind>::Value>,)+
        }

        impl $delta {
            pub fn between(before: &$contents, after: &$contents) -> Self {
                Self { $($field: edits_between(&before.$field, &after.$field),)+ }
            }

            pub fn is_empty(&self) -> bool {
                true $(&& self.$field.is_empty())+
            }

            /// How many elements come, go or change.
            pub fn len(&self) -> usize {
                0 $(+ self.$field.len())+
            }

            /// Makes this the difference of its own `before` and the later delta's `after`.
            pub fn then(&mut self, later: Self) {
                $(chain_edits(&mut self.$field, later.$field);)+
            }

            /// The difference from `after` to `before`.
            pub fn inverse(&self) -> Self {
                Self { $($field: inverse_edits(&self.$field),)+ }
            }

            pub fn apply_to(&self, contents: &mut $contents) {
                $(apply_edits(&self.$field, &mut contents.$field);)+
            }

            /// How many elements come or change in the set.
            pub fn additions(&self, set: SetName) -> usize {
                match set {
                    $(SetName::$set => {
                        self.$field.values().filter(|edit| edit.after.is_some()).count()
                    })+
                    _ => 0,
                }
            }

            /// The set's edits in order: what goes and what comes.
            pub fn edits(&self, set: SetName) -> Box<dyn Iterator<Item = Edit<Element>> + '_> {
                match set {
                    $(SetName::$set => Box::new(self.$field.iter().map(|(&key, edit)| Edit {
                        before: edit.before.map(|value| kind::$kind::element(key, value)),
                        after: edit.after.map(|value| kind::$kind::element(key, value)),
                    })),)+
                    _ => Box::new(std::iter::empty()),
                }
            }
        }
    };
}
