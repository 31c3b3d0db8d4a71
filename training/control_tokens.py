"""StarCoder's control tokens, which every vocabulary here begins with."""

# The first nineteen, in its order.
CONTROL_TOKENS = (
    "<|endoftext|> <fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <filename> <gh_stars> <issue_start> <issue_comment> "
    "<issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> <empty_output> <commit_before> "
    "<commit_msg> <commit_after> <reponame>"
).split()

# Ids.
END, PREFIX, MIDDLE, SUFFIX, PAD, FILENAME = range(6)
