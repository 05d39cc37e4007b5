"""Devices: enrolment, certificates, the broker that lets only them in."""
