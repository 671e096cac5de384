#include "temporary_folder.h"

#include <ftw.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "network.h"

namespace irnn {
namespace {

int Remove(const char* path, const struct stat*, int, FTW*) { return std::remove(path); }

}  // namespace

TemporaryFolder::TemporaryFolder() {
  // The last one is Android's.
  const char* const places[] = {std::getenv("TMPDIR"), "/tmp", "/data/local/tmp"};
  for (const char* where : places) {
    if (!where || !*where) continue;
    path_ = std::string(where) + "/irnn-rpc-XXXXXX";
    if (mkdtemp(&path_[0])) return;
  }
  throw NetworkError(std::string("no temporary folder: ") + std::strerror(errno));
}

// Not std::filesystem: in a 32-bit program it fails where a file system has 64-bit numbers of files.
TemporaryFolder::~TemporaryFolder() { nftw(path_.c_str(), Remove, 8, FTW_DEPTH | FTW_PHYS); }

}  // namespace irnn
