"""Cohorts: many cases through workers that stay, on one machine or a cluster; every case is accounted for once."""
