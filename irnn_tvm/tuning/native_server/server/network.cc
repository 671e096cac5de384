#include "network.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace irnn {
namespace {

[[noreturn]] void Fail(const std::string& what) { throw NetworkError(what + ": " + std::strerror(errno)); }

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses Resolve(const std::string& host, int port, int flags) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = flags;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (code) throw NetworkError(host + ": " + gai_strerror(code));
  return Addresses(found, &freeaddrinfo);
}

/* Sockets are not for the programs that a candidate may start. */
Socket NewSocket(int family) {
  Socket made(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!made.open()) Fail("socket");
  return made;
}

void SetOption(const Socket& socket, int level, int name) {
  const int on = 1;
  setsockopt(socket.fd(), level, name, &on, sizeof(on));
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  Close();
  fd_ = other.Release();
  return *this;
}

void Socket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

int Socket::Release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

void Socket::SetTimeout(int seconds) {
  timeval time{};
  time.tv_sec = seconds;
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}

void Socket::SendAll(const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size) {
    const ssize_t count = send(fd_, next, size, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) Fail("send");
    next += count;
    size -= static_cast<size_t>(count);
  }
}

void Socket::ReceiveAll(void* data, size_t size) {
  char* next = static_cast<char*>(data);
  while (size) {
    const ssize_t count = recv(fd_, next, size, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail("receive");
    if (count == 0) throw NetworkError("the other side closed the connection");
    next += count;
    size -= static_cast<size_t>(count);
  }
}

int32_t Socket::ReceiveNumber() {
  int32_t number = 0;
  ReceiveAll(&number, sizeof(number));
  return number;
}

void Socket::SendText(const std::string& text) {
  SendNumber(static_cast<int32_t>(text.size()));
  SendAll(text.data(), text.size());
}

std::string Socket::ReceiveText(int32_t most) {
  const int32_t size = ReceiveNumber();
  if (size < 0 || size > most) throw NetworkError("a text of impossible length");
  std::string text(static_cast<size_t>(size), '\0');
  ReceiveAll(&text[0], text.size());
  return text;
}

Socket Listen(const std::string& host, int* port) {
  const Addresses found = Resolve(host, *port, AI_PASSIVE);
  Socket made = NewSocket(found->ai_family);
  SetOption(made, SOL_SOCKET, SO_REUSEADDR);
  const std::string where = "cannot listen on " + host + ":" + std::to_string(*port);
  if (bind(made.fd(), found->ai_addr, found->ai_addrlen) || listen(made.fd(), 8)) Fail(where);
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(made.fd(), reinterpret_cast<sockaddr*>(&address), &size)) Fail(where);
  *port = ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                              : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
  return made;
}

Socket Accept(const Socket& listening) {
  Socket made(accept4(listening.fd(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!made.open()) Fail("accept");
  SetOption(made, IPPROTO_TCP, TCP_NODELAY);
  // A client whose machine went away without a word would hold the device for ever.
  SetOption(made, SOL_SOCKET, SO_KEEPALIVE);
  return made;
}

Socket Connect(const std::string& host, int port) {
  const Addresses found = Resolve(host, port, 0);
  for (const addrinfo* one = found.get(); one; one = one->ai_next) {
    Socket made = NewSocket(one->ai_family);
    made.SetTimeout(10);
    if (connect(made.fd(), one->ai_addr, one->ai_addrlen) == 0) return made;
  }
  Fail("cannot connect to " + host + ":" + std::to_string(port));
}

}  // namespace irnn
