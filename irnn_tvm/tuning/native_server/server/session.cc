#include "session.h"

#include <sys/socket.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>
#include <tvm/support/io.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <utility>

#include "device_info.h"
#include "protocol.h"

namespace irnn {
namespace {

namespace ffi = tvm::ffi;

class SocketChannel final : public tvm::runtime::RPCChannel {
 public:
  explicit SocketChannel(Socket socket) : socket_(std::move(socket)) {}

  size_t Send(const void* data, size_t size) override { return Check(send(socket_.fd(), data, size, MSG_NOSIGNAL)); }
  size_t Recv(void* data, size_t size) override { return Check(recv(socket_.fd(), data, size, 0)); }

 private:
  static size_t Check(ssize_t count) {
    if (count < 0) TVM_FFI_THROW(RPCError) << "the connection broke: " << std::strerror(errno);
    return static_cast<size_t>(count);
  }
  Socket socket_;
};

/* What TVM's writer of answers wants of a connection. */
class AnswerStream final : public tvm::support::Stream {
 public:
  explicit AnswerStream(Socket* socket) : socket_(socket) {}
  using Stream::Write;
  size_t Read(void*, size_t) override { return 0; }
  size_t Write(const void* data, size_t size) override {
    socket_->SendAll(data, size);
    return size;
  }
  void MessageStart(uint64_t) {}
  void MessageDone() {}

 private:
  Socket* socket_;
};

/* A file of the session's folder: names that lead out of it are mistakes. */
std::string InFolder(const std::string& name) {
  TVM_FFI_CHECK(!name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos, ValueError)
      << "'" << name << "' is no name of a file in the session's folder";
  return "./" + name;
}

void Upload(const std::string& name, const ffi::Bytes& data) {
  std::ofstream file(InFolder(name), std::ios::binary | std::ios::trunc);
  file.write(data.data(), static_cast<std::streamsize>(data.size()));
  file.close();
  TVM_FFI_CHECK(file, OSError) << "cannot write " << name << ": " << std::strerror(errno);
}

ffi::Bytes Download(const std::string& name) {
  std::ifstream file(InFolder(name), std::ios::binary);
  TVM_FFI_CHECK(file, OSError) << "cannot read " << name << ": " << std::strerror(errno);
  return ffi::Bytes(std::string(std::istreambuf_iterator<char>(file), {}));
}

void Remove(const std::string& name) { std::remove(InFolder(name).c_str()); }

ffi::Module LoadModule(const std::string& name) { return ffi::Module::LoadFromFile(InFolder(name)); }

}  // namespace

// The names by which clients of TVM's RPC ask, and ours for what preflight asks.
TVM_FFI_STATIC_INIT_BLOCK() {
  ffi::reflection::GlobalDef()
      .def("tvm.rpc.server.workpath", [](const std::string& name) { return ffi::String(InFolder(name)); })
      .def("tvm.rpc.server.upload", Upload)
      .def("tvm.rpc.server.download", Download)
      .def("tvm.rpc.server.remove", Remove)
      .def("tvm.rpc.server.load_module", LoadModule)
      .def("irnn_tvm.device", []() { return ffi::String(DeviceInfo(".")); });
}

void ServeClient(Socket client) {
  client.SetTimeout(0);
  auto channel = std::make_unique<SocketChannel>(std::move(client));
  tvm::runtime::RPCEndpoint::Create(std::move(channel), "irnn_tvm", "")->ServerLoop();
}

void SendTimeout(Socket* client, const std::string& seconds) {
  AnswerStream stream(client);
  const std::string message = "RPCSessionTimeoutError: Your " + seconds + " s session has expired, try to increase " +
                              "the \"session_timeout\" value.";
  tvm::runtime::RPCReference::ReturnException(message.c_str(), &stream);
}

}  // namespace irnn
