# Starts Open WebUI with its secrets read from files. Open WebUI knows environment variables only; set here, in the process that uses
# them, they are neither in the pod's specification nor in /proc/<pid>/environ, which shows what a process was started with.
import json
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

# The service's tools, for everybody who chats: a connection without a grant is for administrators only. Calls bear the connection's key and, as
# those of a model do, the token that says who asks. Open WebUI calls the document's paths below the URL.
os.environ["TOOL_SERVER_CONNECTIONS"] = json.dumps([{
    "type": "openapi", "url": os.environ["TOOL_SERVER_URL"], "spec_type": "url", "spec": "", "path": "tools/openapi.json",
    "auth_type": "bearer", "key": os.environ["OPENAI_API_KEYS"], "headers": None,
    "config": {
        "enable": True, "function_name_filter_list": "",
        "access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}],
    },
    "info": {"id": "assistant", "name": "Smart Assistant", "description": "Your mail, jobs, applications and briefings"},
}])
pathlib.Path(os.environ["STATIC_DIR"]).mkdir(parents=True, exist_ok=True)

sys.path.insert(0, os.getcwd())
import uvicorn

uvicorn.run("open_webui.main:app", host="0.0.0.0", port=int(os.environ["PORT"]), forwarded_allow_ips="*", timeout_graceful_shutdown=20)
