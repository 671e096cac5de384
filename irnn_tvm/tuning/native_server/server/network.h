/* TCP connections. What fails throws NetworkError. */
#ifndef IRNN_SERVER_NETWORK_H_
#define IRNN_SERVER_NETWORK_H_

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace irnn {

class NetworkError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/* A socket, which is closed when this goes. */
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(other.Release()) {}
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { Close(); }

  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Close();
  int Release();

  /* Seconds that a receive may wait; 0: for ever. */
  void SetTimeout(int seconds);
  void SendAll(const void* data, size_t size);
  void ReceiveAll(void* data, size_t size);
  void SendNumber(int32_t number) { SendAll(&number, sizeof(number)); }
  int32_t ReceiveNumber();
  /* A text after its length; at most `most` bytes of one that others send. */
  void SendText(const std::string& text);
  std::string ReceiveText(int32_t most);

 private:
  int fd_ = -1;
};

/* Listens on an address; `port` becomes the one that was taken. */
Socket Listen(const std::string& host, int* port);
Socket Accept(const Socket& listening);
Socket Connect(const std::string& host, int port);

}  // namespace irnn
#endif  // IRNN_SERVER_NETWORK_H_
