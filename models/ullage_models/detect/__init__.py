"""Detection: from rows of tags to episodes. Pure: values and times in, judgements out."""
