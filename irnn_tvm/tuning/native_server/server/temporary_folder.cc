#include "temporary_folder.h"

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "network.h"

namespace irnn {
namespace {

// Before the number of the server's process.
const char kName[] = "irnn-rpc-";

/* Where folders may be made, the best place first. The last one is Android's. */
std::vector<std::string> Places() {
  const char* const chosen = std::getenv("TMPDIR");
  std::vector<std::string> places = {"/tmp", "/data/local/tmp"};
  if (chosen && *chosen) places.insert(places.begin(), chosen);
  return places;
}

int RemoveOne(const char* path, const struct stat*, int, FTW*) { return std::remove(path); }

// Not std::filesystem: in a 32-bit program it fails where a file system has 64-bit numbers of files.
void Remove(const std::string& path) { nftw(path.c_str(), RemoveOne, 8, FTW_DEPTH | FTW_PHYS); }

}  // namespace

TemporaryFolder::TemporaryFolder() {
  for (const std::string& place : Places()) {
    path_ = place + "/" + kName + std::to_string(getpid()) + "-XXXXXX";
    if (mkdtemp(&path_[0])) return;
  }
  throw NetworkError(std::string("no temporary folder: ") + std::strerror(errno));
}

TemporaryFolder::~TemporaryFolder() { Remove(path_); }

void RemoveAbandonedFolders() {
  for (const std::string& place : Places()) {
    DIR* const folder = opendir(place.c_str());
    if (!folder) continue;
    std::vector<std::string> abandoned;
    while (const dirent* entry = readdir(folder)) {
      if (std::strncmp(entry->d_name, kName, sizeof(kName) - 1)) continue;
      const long process = std::strtol(entry->d_name + sizeof(kName) - 1, nullptr, 10);
      if (process > 0 && kill(static_cast<pid_t>(process), 0) && errno == ESRCH) {
        abandoned.push_back(place + "/" + entry->d_name);
      }
    }
    closedir(folder);
    for (const std::string& path : abandoned) Remove(path);
  }
}

}  // namespace irnn
