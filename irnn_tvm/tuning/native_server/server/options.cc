#include "options.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace irnn {
namespace {

const char kUsage[] =
    "usage: rpc-server [--host ADDRESS] [--port PORT] [--tracker HOST:PORT --key KEY] [--custom-address HOST]\n"
    "\n"
    "Lets others measure on this device. Whoever can connect may run code as you.\n"
    "\n"
    "  --host ADDRESS         address to listen on; 0.0.0.0 lets the network in (default 127.0.0.1)\n"
    "  --port PORT            port to listen on; 0: any (default 9090)\n"
    "  --tracker HOST:PORT    tracker to register at\n"
    "  --key KEY              what kind of device this is, for the tracker\n"
    "  --custom-address HOST  what the tracker tells clients to connect to\n"
    "  --version              the versions of irnn_tvm and TVM that this was built from\n";

[[noreturn]] void Refuse(const std::string& reason) {
  std::fprintf(stderr, "%s\n\n%s", reason.c_str(), kUsage);
  std::exit(2);
}

int ParsePort(const std::string& text, int least) {
  char* end = nullptr;
  const long port = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end || port < least || port > 65535) Refuse("'" + text + "' is no port");
  return static_cast<int>(port);
}

/* Keys and addresses go into JSON and into a line of words as they are. */
std::string Plain(const std::string& name, const std::string& text) {
  for (const char c : text) {
    if (c <= ' ' || c > '~' || c == '"' || c == '\\') {
      Refuse(name + ": only visible ASCII characters without quotes and backslashes, not '" + text + "'");
    }
  }
  return text;
}

}  // namespace

Options ParseOptions(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    std::string name = words[i], value;
    if (name == "--help" || name == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (name == "--version") {
      std::puts("irnn_tvm " IRNN_VERSION ", apache-tvm " IRNN_TVM_VERSION ", apache-tvm-ffi " IRNN_TVM_FFI_VERSION);
      std::exit(0);
    }
    const size_t equals = name.find('=');
    if (equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    } else if (i + 1 < count) {
      value = words[++i];
    } else {
      Refuse("'" + name + "' needs a value, or is unknown");
    }
    if (name == "--host") {
      options.host = value;
    } else if (name == "--port") {
      options.port = ParsePort(value, 0);
    } else if (name == "--tracker") {
      const size_t colon = value.rfind(':');
      if (colon == std::string::npos || colon == 0) {
        Refuse("'" + value + "' is no address: write host:port, as in 192.168.1.5:9190");
      }
      options.tracker_host = value.substr(0, colon);
      options.tracker_port = ParsePort(value.substr(colon + 1), 1);
    } else if (name == "--key") {
      options.key = Plain(name, value);
    } else if (name == "--custom-address") {
      options.custom_address = Plain(name, value);
    } else {
      Refuse("unknown option '" + name + "'");
    }
  }
  if (!options.tracker_host.empty() && options.key.empty()) {
    Refuse("a server that registers at a tracker needs --key, by which clients ask for it");
  }
  return options;
}

}  // namespace irnn
