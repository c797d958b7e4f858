"""Knowledge-distillation experiments one can believe."""

__version__ = "0.1.0"
