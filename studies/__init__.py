"""Brink's studies: plans of runs, jobs that train them, the store that keeps them. Knows the engine, not the dashboard."""

from studies.errors import JobError, PlanError, StoreError
from studies.plans import PRESETS, Plan, Preset
from studies.store import Store, default_url, open_store
from studies.store_jobs import Job

__all__ = ["PRESETS", "Job", "JobError", "Plan", "PlanError", "Preset", "Store", "StoreError", "default_url", "open_store"]
