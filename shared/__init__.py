"""The contracts both sides hold: identities, topics, messages, bundles, trust, sketches."""
