#include "tracker.h"

#include <random>

#include "protocol.h"

namespace irnn {
namespace {

// A client gets so many periods to come.
constexpr int kSilentPeriods = 3;
constexpr int32_t kMostText = 1 << 20;

std::string Quoted(const std::string& text) { return '"' + text + '"'; }

std::string Code(tvm::runtime::TrackerCode code) { return std::to_string(static_cast<int>(code)); }

}  // namespace

Tracker::Tracker(const Options& options, int port)
    : options_(options), port_(port), socket_(Connect(options.tracker_host, options.tracker_port)) {
  socket_.SendNumber(tvm::runtime::kRPCTrackerMagic);
  if (socket_.ReceiveNumber() != tvm::runtime::kRPCTrackerMagic) throw NetworkError("this is no RPC tracker");
  const std::string address = options.custom_address.empty() ? "null" : Quoted(options.custom_address);
  Tell("[" + Code(tvm::runtime::TrackerCode::kUpdateInfo) + ", {\"key\": " + Quoted("server:" + options.key) +
       ", \"addr\": [" + address + ", " + std::to_string(port_) + "]}]");
}

std::string Tracker::Offer() {
  std::random_device random;
  word_ = options_.key + ":" + std::to_string(random()) + std::to_string(random());
  const std::string address = options_.custom_address.empty() ? "null" : Quoted(options_.custom_address);
  Tell("[" + Code(tvm::runtime::TrackerCode::kPut) + ", " + Quoted(options_.key) + ", [" + std::to_string(port_) +
       ", " + Quoted(word_) + "], " + address + "]");
  silent_periods_ = 0;
  return word_;
}

std::string Tracker::Wait() {
  const std::string pending = Ask("[" + Code(tvm::runtime::TrackerCode::kGetPendingMatchKeys) + "]");
  silent_periods_ = pending.find(Quoted(word_)) == std::string::npos ? silent_periods_ + 1 : 0;
  return silent_periods_ > kSilentPeriods ? Offer() : word_;
}

std::string Tracker::Ask(const std::string& json) {
  socket_.SendText(json);
  return socket_.ReceiveText(kMostText);
}

void Tracker::Tell(const std::string& json) {
  const std::string answer = Ask(json);
  if (answer != Code(tvm::runtime::TrackerCode::kSuccess)) throw NetworkError("the tracker refused: " + answer);
}

}  // namespace irnn
