"""Expressions, compiled once per definition version and bounded in time and memory: paths, templates, JavaScript, jq.

Languages compile their definitions with it and say what names stand for; the machine evaluates the results. It imports nothing of
Pelton. Start reading at `base.py`.
"""
