"""What the three web doors share: media types, multipart, pinned requests, answers, problems."""
