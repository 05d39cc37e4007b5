"""Models between training and signing: lines, optimisation, gates and variants."""
