/* The command line of the server. */
#ifndef IRNN_SERVER_OPTIONS_H_
#define IRNN_SERVER_OPTIONS_H_

#include <string>

namespace irnn {

struct Options {
  std::string host = "127.0.0.1";  /* address to listen on */
  int port = 9090;                 /* 0: any */
  std::string tracker_host;        /* empty: no tracker */
  int tracker_port = 0;
  std::string key;                 /* what clients ask the tracker for */
  std::string custom_address;      /* what the tracker tells clients to connect to; empty: where we come from */
};

/* Ends the process, with the usage, at an option that is wrong. */
Options ParseOptions(int count, char** words);

}  // namespace irnn
#endif  // IRNN_SERVER_OPTIONS_H_
