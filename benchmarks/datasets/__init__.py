"""The paper's data sets, as they are distributed. Their licences are the user's to get."""
