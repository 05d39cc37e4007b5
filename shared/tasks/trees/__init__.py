"""Gradient-boosted trees: tables that numpy reads, XGBoost's form of them, and a graph of plain operators."""
