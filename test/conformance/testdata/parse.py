# What Python reads: a message in base64 on each line, and one line of JSON for it. Run by parsers_test.go.
import base64
import json
import sys


def string(v):
    return v if isinstance(v, str) else None


def get(v, name):
    return v.get(name) if isinstance(v, dict) else None


for line in sys.stdin:
    try:
        m = json.loads(base64.b64decode(line).decode("utf-8"))
        p = get(m, "params")
        ref = get(p, "ref")
        answer = {
            "version": string(m.get("jsonrpc")), "id": m.get("id"), "method": string(m.get("method")),
            "answers": "result" in m or "error" in m,
            "name": string(get(p, "name")), "uri": string(get(p, "uri")),
            "ref": [string(ref.get("type")), string(ref.get("name")), string(ref.get("uri"))] if isinstance(ref, dict) else None,
            "revision": string(get(get(p, "_meta"), "io.modelcontextprotocol/protocolVersion")),
            "task": string(get(p, "taskId")), "arguments": get(p, "arguments"),
            "uris": get(get(p, "notifications"), "resourceSubscriptions"),
        }
    except (ValueError, AttributeError, RecursionError) as e:
        answer = {"error": str(e)}
    try:
        text = json.dumps(answer, allow_nan=False)
    except ValueError:
        # JSON has no word for what Python makes of 1e400.
        answer["arguments"] = None
        text = json.dumps(answer)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
