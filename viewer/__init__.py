"""The desktop viewer, snapshots, the headless viewer and (in ``web/``) the browser viewer."""
