"""A language model of the transformers library behind HTTP, with weights of its own making: nothing is downloaded.

Prints "listening on HOST:PORT". POST with any text: what the model says after it, as numbers. Ends when it is told to.
"""
import argparse
import http.server
import json

import outcome

parser = argparse.ArgumentParser()
parser.add_argument("--bytes", type=int, default=1 << 30)
chosen = parser.parse_args()
try:
    import torch
    import transformers
except ImportError as error:
    outcome.missing(str(error))
if not torch.cuda.is_available():
    outcome.missing("torch sees no card")

torch.manual_seed(23)
WIDTH = 2048
layers = max(2, chosen.bytes // (4 * 12 * WIDTH * WIDTH))
config = transformers.GPT2Config(n_embd=WIDTH, n_head=16, n_layer=layers, n_positions=256, vocab_size=4096)
with torch.device("cuda"):  # billions of random numbers take the host's processor half a minute
    model = transformers.GPT2LMHeadModel(config)
model = model.cuda().eval()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        tokens = torch.tensor([[1 + byte for byte in body[:64]] or [1]], device="cuda")
        with torch.no_grad():
            said = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=8, do_sample=False,
                                  pad_token_id=0)
            logits = model(said).logits[0, -1]
        answer = json.dumps({"ok": True, "tokens": said[0].tolist(), "logits": logits[:64].double().tolist()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
