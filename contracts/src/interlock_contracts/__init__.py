"""Interlock's contracts: what producers, executors and other teams import.

Pydantic is the only dependency; nothing here knows of a broker or a service.
"""
