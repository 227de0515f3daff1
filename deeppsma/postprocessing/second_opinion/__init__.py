"""A second opinion on every focus: boosted trees over what the network, the PET, the CT and the patient say."""
