"""GTRC-Net's consensus networks: read from its repositories, frozen, applied."""
