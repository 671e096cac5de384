/* The list of devices that a tracker keeps, seen from a device: "I am free, under this key". */
#ifndef IRNN_SERVER_TRACKER_H_
#define IRNN_SERVER_TRACKER_H_

#include <string>

#include "network.h"
#include "options.h"

namespace irnn {

/* A connection to a tracker. Every function throws NetworkError when it broke. */
class Tracker {
 public:
  /* Tells the tracker of this server, which listens on `port`. */
  Tracker(const Options& options, int port);

  /* Offers the device once more; returns the new word by which the next client has to be recognized. */
  std::string Offer();
  /* To be called every kPeriod seconds while nobody connects: offers the device again when a client was given it and
   * did not come. Returns the word that is valid now. */
  std::string Wait();

  static constexpr int kPeriod = 2;

 private:
  std::string Ask(const std::string& json);
  void Tell(const std::string& json);

  const Options& options_;
  const int port_;
  Socket socket_;
  std::string word_;
  int silent_periods_ = 0;
};

}  // namespace irnn
#endif  // IRNN_SERVER_TRACKER_H_
