"""The search for better settings, on KerasTuner; the map is in `bloodkeras/__init__.py`."""
