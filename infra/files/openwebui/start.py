# Starts Open WebUI with its secrets read from files. Open WebUI knows environment variables only; set here, in the process that uses
# them, they are neither in the pod's specification nor in /proc/<pid>/environ, which shows what a process was started with.
import os
import pathlib
import sys

folder = pathlib.Path(os.environ["SECRETS_DIR"])
secrets = {"WEBUI_SECRET_KEY": "webui-secret-key", "OPENAI_API_KEYS": "api-key", "FORWARD_USER_INFO_HEADER_JWT_SECRET": "user-key"}
for variable, name in secrets.items():
    try:
        value = (folder / name).read_text().strip()
    except OSError as err:
        sys.exit(f"open-webui: read its secret {name}: {err}")
    if not value:
        sys.exit(f"open-webui: its secret {folder / name} is empty")
    os.environ[variable] = value
pathlib.Path(os.environ["STATIC_DIR"]).mkdir(parents=True, exist_ok=True)

sys.path.insert(0, os.getcwd())
import uvicorn

uvicorn.run("open_webui.main:app", host="0.0.0.0", port=int(os.environ["PORT"]), forwarded_allow_ips="*", timeout_graceful_shutdown=20)
